"""Segmentation losses: weighted cross-entropy and Lovasz-softmax. Which points count is an
explicit mask, never a magic label.
"""

import torch
import torch.nn.functional as F


def segmentation_loss(logits, labels, mask, class_weights=None):
    """Cross-entropy + Lovasz-softmax, both with weight 1 (CMDFusion's and U2MKD's loss on points).

    Args:
        logits: (N, C) float.
        labels: (N,) int64, 0..C-1 where `mask` holds; anything elsewhere.
        mask: (N,) bool, the points that count.
        class_weights: (C,) float for the cross-entropy, or None.

    Returns:
        (cross_entropy, lovasz), two scalars; both 0, with gradient 0, where no point counts.
    """
    if not mask.any():
        nothing = logits.sum() * 0.0
        return nothing, nothing
    logits, labels = logits[mask], labels[mask]
    return F.cross_entropy(logits, labels, weight=class_weights), lovasz_softmax(
        logits.softmax(dim=1), labels
    )


def lovasz_softmax(probabilities, labels):
    """The Lovasz extension of the Jaccard loss of each class, averaged over the classes present in
    `labels` (Berman et al., CVPR 2018).

    For class c the error of a point is |1[label = c] - probability of c|. With the errors in
    falling order e_1 >= e_2 >= ..., the loss is sum_k e_k (J_k - J_(k-1)), where J_k is the Jaccard
    loss 1 - IoU if exactly the first k points were wrong: a point counts by how much IoU it costs.
    The whole batch is one set of points.

    Args:
        probabilities: (N, C) float, rows sum to 1.
        labels: (N,) int64, 0..C-1; N > 0.

    Returns:
        a scalar in [0, 1].
    """
    present = labels.unique()
    is_class = (labels[None, :] == present[:, None]).to(probabilities.dtype)  # (K, N)
    errors = (is_class - probabilities.t()[present]).abs()
    errors, order = errors.sort(dim=1, descending=True)
    return (errors * _jaccard_steps(is_class.gather(1, order))).sum(dim=1).mean()


def _jaccard_steps(is_class):
    """(K, N) 0/1, the class's points in order of falling error -> (K, N), what each further
    wrong point adds to the Jaccard loss.
    """
    missed = is_class.cumsum(dim=1)  # wrong points of the class: no longer in the intersection
    added = (1 - is_class).cumsum(dim=1)  # wrong points of other classes: now in the union
    total = is_class.sum(dim=1, keepdim=True)
    losses = 1 - (total - missed) / (total + added)
    return torch.diff(losses, dim=1, prepend=losses.new_zeros(len(losses), 1))


def class_weights_from_counts(counts, power):
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
