"""Losses against their definitions: Lovasz equals the Jaccard loss on hard predictions, masked
points do not matter, gradients point the right way.
"""

import numpy as np
import pytest
import torch

from cmdfusion_ros.training.losses import (
    class_weights_from_counts,
    lovasz_softmax,
    segmentation_loss,
)


def slow_lovasz(probabilities, labels):
    """The definition, set by set: sum over k of e_k (J(first k wrong) - J(first k - 1 wrong))."""
    losses = []
    for c in np.unique(labels):
        members = set(np.flatnonzero(labels == c))
        errors = np.where(labels == c, 1 - probabilities[:, c], probabilities[:, c])
        order = np.argsort(-errors, kind="stable")
        value, wrong, before = 0.0, set(), 0.0
        for point in order:
            wrong.add(point)
            # all wrong points leave the intersection; the union grows by those of other classes
            jaccard = len(wrong) / len(members | wrong)
            value += errors[point] * (jaccard - before)
            before = jaccard
        losses.append(value)
    return np.mean(losses)


def random_case(num_points=60, num_classes=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(num_points, num_classes, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, num_classes, (num_points,), generator=generator)
    return logits, labels


@pytest.mark.parametrize("seed", range(5))
def test_lovasz_is_its_definition(seed):
    logits, labels = random_case(seed=seed)
    labels[labels == 3] = 2  # a class that is absent is not averaged in
    probabilities = logits.softmax(dim=1)
    assert lovasz_softmax(probabilities, labels).item() == pytest.approx(
        slow_lovasz(probabilities.numpy(), labels.numpy()), abs=1e-9
    )


def test_lovasz_of_hard_predictions_is_one_minus_the_mean_iou():
    _, labels = random_case(num_points=200)
    _, predicted = random_case(num_points=200, seed=9)
    hard = torch.nn.functional.one_hot(predicted, 5).double()
    ious = [
        ((labels == c) & (predicted == c)).sum() / ((labels == c) | (predicted == c)).sum()
        for c in range(5)
    ]
    assert lovasz_softmax(hard, labels).item() == pytest.approx(1 - np.mean(ious))


def test_lovasz_is_zero_when_all_is_right_and_one_when_all_is_wrong():
    labels = torch.tensor([0, 1, 1, 2])
    right = torch.nn.functional.one_hot(labels, 3).float()
    assert lovasz_softmax(right, labels) == 0
    assert lovasz_softmax(right.roll(1, dims=1), labels) == 1


def test_the_order_of_points_does_not_matter():
    logits, labels = random_case()
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(1))
    losses = segmentation_loss(logits, labels, labels >= 0)
    shuffled_losses = segmentation_loss(logits[order], labels[order], labels >= 0)
    for loss, shuffled in zip(losses, shuffled_losses, strict=True):
        assert loss.item() == pytest.approx(shuffled.item())


def test_masked_points_change_neither_loss_nor_gradient():
    logits, labels = random_case()
    mask = torch.arange(len(labels)) % 3 > 0
    outcomes = []
    for fill_logit, fill_label in ((5.0, 255), (-3.0, 1)):
        changed = torch.where(mask[:, None], logits, fill_logit).requires_grad_()
        losses = segmentation_loss(changed, torch.where(mask, labels, fill_label), mask)
        sum(losses).backward()
        assert not changed.grad[~mask].any() and changed.grad[mask].any()
        outcomes.append((losses[0].item(), losses[1].item(), changed.grad[mask]))
    assert outcomes[0][:2] == outcomes[1][:2]
    torch.testing.assert_close(outcomes[0][2], outcomes[1][2])


def test_nothing_labelled_gives_zero_loss_and_zero_gradient():
    logits = torch.randn(4, 3, requires_grad=True)
    losses = segmentation_loss(logits, torch.full((4,), 255), torch.zeros(4, dtype=torch.bool))
    sum(losses).backward()
    assert losses[0] == 0 and losses[1] == 0 and not logits.grad.any()


def test_a_step_along_the_gradient_lowers_the_loss():
    logits, labels = random_case(num_points=300)
    logits.requires_grad_()
    before = sum(segmentation_loss(logits, labels, labels >= 0))
    (gradient,) = torch.autograd.grad(before, logits)
    after = sum(segmentation_loss(logits - 1.0 * gradient, labels, labels >= 0))
    assert after < before


def test_cross_entropy_is_weighted_by_class():
    logits = torch.tensor([[2.0, 0.0], [2.0, 0.0]])
    labels = torch.tensor([0, 1])
    easy, hard = np.log1p(np.exp(-2)), np.log1p(np.exp(2))
    cross_entropy, _ = segmentation_loss(logits, labels, labels >= 0, torch.tensor([1.0, 3.0]))
    assert cross_entropy.item() == pytest.approx((easy + 3 * hard) / 4, rel=1e-6)


def test_weights_of_the_paper_come_from_its_counts():
    """CMDFusion's SemanticKITTI weights (methods A.2): the cube root of inverse frequency; a few
    by value.
    """
    counts = [
        55437630,
        320797,
        541736,
        2578735,
        3274484,
        552662,
        184064,
        78858,
        240942562,
        17294618,
        170599734,
        6369672,
        230413074,
        101130274,
    ]
    counts += [476491114, 9833174, 129609852, 4506626, 1168181]
    weights = class_weights_from_counts(counts, 1 / 3)
    assert weights[[0, 1, 7, 14, 18]].tolist() == pytest.approx(
        [2.048, 11.41, 18.214, 1.0, 7.416], abs=1e-3
    )


def test_a_class_without_points_weighs_nothing():
    assert class_weights_from_counts([8, 0, 1], 1 / 3).tolist() == [1.0, 0.0, pytest.approx(2.0)]
    assert class_weights_from_counts([8, 0, 1], 0.0).tolist() == [1.0, 0.0, 1.0]
    with pytest.raises(ValueError, match="expected points of at least one class"):
        class_weights_from_counts([0, 0], 1.0)
