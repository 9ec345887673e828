"""Losses against their definitions: Lovasz equals the Jaccard loss on hard predictions, masked
points do not matter, gradients point the right way, rows weigh as their points do.
"""

import numpy as np
import pytest
import torch
from builders.paths import load_script

from cmdfusion_ros.sparse import native
from cmdfusion_ros.training import losses
from cmdfusion_ros.training.losses import (
    class_weights_from_counts,
    count_labels,
    lovasz_softmax,
    segmentation_loss,
)

KINDS = [  # (dtype, tolerance): float64 takes plain torch, float32 the compiled kernel if built
    (torch.float64, 1e-9),
    (torch.float32, 1e-5),
]


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


def lovasz_of_points(probabilities, labels):
    """`lovasz_softmax` where every row is one point."""
    return lovasz_softmax(probabilities, labels, torch.ones(len(labels)))


def losses_of_points(logits, labels, mask, class_weights=None):
    """`segmentation_loss` where every row is one point."""
    return segmentation_loss(logits, torch.arange(len(labels)), labels, mask, class_weights)


@pytest.mark.parametrize(("dtype", "tolerance"), KINDS)
@pytest.mark.parametrize("seed", range(5))
def test_lovasz_is_its_definition(seed, dtype, tolerance):
    logits, labels = random_case(seed=seed)
    labels[labels == 3] = 2  # a class that is absent is not averaged in
    probabilities = logits.to(dtype).softmax(dim=1)
    assert lovasz_of_points(probabilities, labels).item() == pytest.approx(
        slow_lovasz(probabilities.numpy(), labels.numpy()), abs=tolerance
    )


@pytest.mark.parametrize(("dtype", "tolerance"), KINDS)
@pytest.mark.parametrize("seed", range(3))
def test_rows_weigh_as_their_points_do_in_value_and_gradient(seed, dtype, tolerance):
    """Against the losses as they are defined on points, in float64: cross-entropy of torch, Lovasz
    in plain torch over every point.
    """
    generator = torch.Generator().manual_seed(seed)
    num_rows, num_points, num_classes = 300, 2000, 7
    row_logits = (3 * torch.randn(num_rows, num_classes, generator=generator)).to(dtype)
    row_logits = row_logits.requires_grad_()
    point_to_row = torch.randint(0, num_rows, (num_points,), generator=generator)
    labels = (point_to_row + (torch.rand(num_points, generator=generator) < 0.2)) % 5  # some mixed
    mask = torch.rand(num_points, generator=generator) < 0.8
    weights = torch.randint(1, 9, (num_classes,), generator=generator) / 8  # exact in float32
    ours = segmentation_loss(row_logits, point_to_row, labels, mask, weights)
    logits = row_logits.double()[point_to_row[mask]]
    expected = (
        torch.nn.functional.cross_entropy(logits, labels[mask], weights.double()),
        losses._lovasz(logits.softmax(1), labels[mask], torch.ones(int(mask.sum()))),
    )
    for one, other in zip(ours, expected, strict=True):
        assert one.item() == pytest.approx(other.item(), abs=tolerance)
        mine, theirs = (torch.autograd.grad(x, row_logits, retain_graph=True) for x in (one, other))
        torch.testing.assert_close(mine, theirs, rtol=0, atol=tolerance)


@pytest.mark.skipif(native.kernels() is None, reason=f"no compiled kernels: {native.why_not()}")
def test_the_compiled_lovasz_is_that_of_torch_with_sure_and_equal_answers_among_the_rows():
    generator = torch.Generator().manual_seed(0)
    logits = 20 * torch.randn(20_000, 12, generator=generator)  # many probabilities of 0 and 1
    logits[:500] = 0  # equal errors
    labels = torch.randint(0, 9, (20_000,), generator=generator)
    counts = torch.randint(1, 40, (20_000,), generator=generator).float()
    ours = lovasz_softmax(logits.softmax(1), labels, counts)
    with native.switched_off():
        expected = lovasz_softmax(logits.softmax(1), labels, counts)
    assert ours.item() == pytest.approx(expected.item(), abs=1e-6)


def test_labels_are_counted_by_row():
    point_to_row = torch.tensor([0, 0, 2, 2, 2, 1])
    labels = torch.tensor([3, 3, 1, 0, 1, 255])
    found = count_labels(point_to_row, labels, labels != 255, 4)
    assert [each.tolist() for each in found] == [[0, 2, 2], [3, 0, 1], [2.0, 1.0, 2.0]]


def test_lovasz_of_hard_predictions_is_one_minus_the_mean_iou():
    _, labels = random_case(num_points=200)
    _, predicted = random_case(num_points=200, seed=9)
    hard = torch.nn.functional.one_hot(predicted, 5).double()
    ious = [
        ((labels == c) & (predicted == c)).sum() / ((labels == c) | (predicted == c)).sum()
        for c in range(5)
    ]
    assert lovasz_of_points(hard, labels).item() == pytest.approx(1 - np.mean(ious))


def test_lovasz_is_zero_when_all_is_right_and_one_when_all_is_wrong():
    labels = torch.tensor([0, 1, 1, 2])
    right = torch.nn.functional.one_hot(labels, 3).float()
    assert lovasz_of_points(right, labels) == 0
    assert lovasz_of_points(right.roll(1, dims=1), labels) == 1


def test_the_order_of_points_does_not_matter():
    logits, labels = random_case()
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(1))
    ours = losses_of_points(logits, labels, labels >= 0)
    shuffled_losses = losses_of_points(logits[order], labels[order], labels >= 0)
    for loss, shuffled in zip(ours, shuffled_losses, strict=True):
        assert loss.item() == pytest.approx(shuffled.item())


def test_masked_points_change_neither_loss_nor_gradient():
    logits, labels = random_case()
    mask = torch.arange(len(labels)) % 3 > 0
    outcomes = []
    for fill_logit, fill_label in ((5.0, 255), (-3.0, 1)):
        changed = torch.where(mask[:, None], logits, fill_logit).requires_grad_()
        ours = losses_of_points(changed, torch.where(mask, labels, fill_label), mask)
        sum(ours).backward()
        assert not changed.grad[~mask].any() and changed.grad[mask].any()
        outcomes.append((ours[0].item(), ours[1].item(), changed.grad[mask]))
    assert outcomes[0][:2] == outcomes[1][:2]
    torch.testing.assert_close(outcomes[0][2], outcomes[1][2])


def test_nothing_labelled_gives_zero_loss_and_zero_gradient():
    logits = torch.randn(4, 3, requires_grad=True)
    ours = losses_of_points(logits, torch.full((4,), 255), torch.zeros(4, dtype=torch.bool))
    sum(ours).backward()
    assert ours[0] == 0 and ours[1] == 0 and not logits.grad.any()


def test_a_step_along_the_gradient_lowers_the_loss():
    logits, labels = random_case(num_points=300)
    logits.requires_grad_()
    before = sum(losses_of_points(logits, labels, labels >= 0))
    (gradient,) = torch.autograd.grad(before, logits)
    after = sum(losses_of_points(logits - 1.0 * gradient, labels, labels >= 0))
    assert after < before


def test_cross_entropy_is_weighted_by_class():
    logits = torch.tensor([[2.0, 0.0], [2.0, 0.0]])
    labels = torch.tensor([0, 1])
    easy, hard = np.log1p(np.exp(-2)), np.log1p(np.exp(2))
    cross_entropy, _ = losses_of_points(logits, labels, labels >= 0, torch.tensor([1.0, 3.0]))
    assert cross_entropy.item() == pytest.approx((easy + 3 * hard) / 4, rel=1e-6)


def test_weights_of_the_paper_come_from_its_counts():
    """CMDFusion's SemanticKITTI weights: the cube root of inverse frequency; a few
    by value.
    """
    counts = load_script("benchmarks/world.py").REAL_POINTS
    weights = class_weights_from_counts(counts, 1 / 3)
    assert weights[[0, 1, 7, 14, 18]].tolist() == pytest.approx(
        [2.048, 11.41, 18.214, 1.0, 7.416], abs=1e-3
    )


def test_a_class_without_points_weighs_nothing():
    assert class_weights_from_counts([8, 0, 1], 1 / 3).tolist() == [1.0, 0.0, pytest.approx(2.0)]
    assert class_weights_from_counts([8, 0, 1], 0.0).tolist() == [1.0, 0.0, 1.0]
    with pytest.raises(ValueError, match="expected points of at least one class"):
        class_weights_from_counts([0, 0], 1.0)
