"""Segmentation losses: weighted cross-entropy and Lovasz-softmax. Which points count is an
explicit mask, never a magic label.

Points of one row (a voxel) share its logits, so the losses are formed on rows, each weighted by its
number of points: the same values from fewer numbers.
"""

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from cmdfusion_ros.sparse import native


class RowLabels(NamedTuple):
    """Which labels the points of each row have: one entry for every row and label that meet.

    Attributes:
        rows: (M,) int64. labels: (M,) int64. counts: (M,) float32, points of that row and label.
    """

    rows: torch.Tensor
    labels: torch.Tensor
    counts: torch.Tensor


def count_labels(
    point_to_row: torch.Tensor, labels: torch.Tensor, mask: torch.Tensor, num_classes: int
) -> RowLabels:
    """RowLabels of the points that `mask` (N,) bool keeps; their rows and labels (N,) int64."""
    pairs = point_to_row[mask] * num_classes + labels[mask]
    counts = torch.bincount(pairs)
    pairs = counts.nonzero()[:, 0]
    rows = pairs // num_classes
    return RowLabels(rows, pairs - rows * num_classes, counts[pairs].float())


def segmentation_loss(
    row_logits: torch.Tensor,
    point_to_row: torch.Tensor,
    labels: torch.Tensor,
    mask: torch.Tensor,
    class_weights: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Cross-entropy + Lovasz-softmax, both with weight 1 (CMDFusion's and U2MKD's loss on points).

    Args:
        row_logits: (R, C) float.
        point_to_row: (N,) int64, for each point its row.
        labels: (N,) int64, 0..C-1 where `mask` holds; anything elsewhere.
        mask: (N,) bool, the points that count.
        class_weights: (C,) float for the cross-entropy, or None.

    Returns:
        (cross_entropy, lovasz), two scalars; both 0, with gradient 0, where no point counts.
    """
    rows, labels, counts = count_labels(point_to_row, labels, mask, row_logits.shape[1])
    if not len(rows):
        nothing = row_logits.sum() * 0.0
        return nothing, nothing
    log_probabilities = row_logits.log_softmax(dim=1).index_select(0, rows)
    weights = counts if class_weights is None else counts * class_weights[labels]
    errors = F.nll_loss(log_probabilities, labels, reduction="none")
    cross_entropy = (errors * weights).sum() / weights.sum()
    return cross_entropy, lovasz_softmax(log_probabilities.exp(), labels, counts)


def lovasz_softmax(
    probabilities: torch.Tensor, labels: torch.Tensor, counts: torch.Tensor
) -> torch.Tensor:
    """The Lovasz extension of the Jaccard loss of each class, averaged over the classes present in
    `labels` (Berman et al., CVPR 2018).

    For class c the error of a point is |1[label = c] - probability of c|. With the errors in
    falling order e_1 >= e_2 >= ..., the loss is sum_k e_k (J_k - J_(k-1)), where J_k is the Jaccard
    loss 1 - IoU if exactly the first k points were wrong: a point counts by how much IoU it costs.
    Points of one error may be taken together. The whole batch is one set of points.

    Args:
        probabilities: (M, C) float, rows sum to 1.
        labels: (M,) int64, 0..C-1; M > 0.
        counts: (M,) float, points that each row stands for; above 0.

    Returns:
        a scalar in [0, 1].
    """
    on_cpu = probabilities.device.type == "cpu" and probabilities.dtype == torch.float32
    if on_cpu and native.kernels() is not None:
        return _CompiledLovasz.apply(probabilities, labels, counts)
    return _lovasz(probabilities, labels, counts)


class _CompiledLovasz(torch.autograd.Function):
    """`_lovasz` and its gradient in one pass: sorting the errors is all of its work."""

    @staticmethod
    def forward(ctx, probabilities, labels, counts):
        loss, gradient = native.kernels().lovasz(probabilities.detach(), labels, counts)
        ctx.save_for_backward(gradient)
        return probabilities.new_tensor(loss)

    @staticmethod
    def backward(ctx, grad_output):
        (gradient,) = ctx.saved_tensors
        return gradient * grad_output, None, None


def _lovasz(probabilities, labels, counts):
    """`lovasz_softmax` in plain torch."""
    present = labels.unique()
    is_class = labels[None, :] == present[:, None]  # (K, M)
    errors = (is_class.to(probabilities.dtype) - probabilities.t()[present]).abs()
    errors, order = errors.sort(dim=1, descending=True)
    members = torch.where(is_class, counts, 0).double()
    others = torch.where(is_class, 0, counts).double()
    steps = _jaccard_steps(members.gather(1, order), others.gather(1, order))
    return (errors * steps.to(errors.dtype)).sum(dim=1).mean()


def _jaccard_steps(members, others):
    """(K, M) points of the class and of other classes, in order of falling error -> (K, M), what
    each further wrong row adds to the Jaccard loss.
    """
    missed = members.cumsum(dim=1)  # wrong points of the class: no longer in the intersection
    added = others.cumsum(dim=1)  # wrong points of other classes: now in the union
    total = members.sum(dim=1, keepdim=True)
    losses = 1 - (total - missed) / (total + added)
    return torch.diff(losses, dim=1, prepend=losses.new_zeros(len(losses), 1))


def class_weights_from_counts(counts: np.ndarray | torch.Tensor, power: float) -> torch.Tensor:
    """(C,) numbers of points -> (C,) float32 weights (max_count / count) ** power; a class without
    points has weight 0, for nothing can learn it.

    `power` 1/3 is CMDFusion's on SemanticKITTI; 0 weighs all classes alike.
    """
    counts = torch.as_tensor(counts, dtype=torch.float64)
    if not (counts > 0).any():
        raise ValueError(
            f"class weights: expected points of at least one class, got counts {counts.tolist()}; "
            "are the labels read with the right dataset?"
        )
    weights = (counts.max() / counts.clamp(min=1)) ** power
    return torch.where(counts > 0, weights, 0.0).float()
