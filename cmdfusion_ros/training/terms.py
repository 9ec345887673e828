"""Distances between what a student and its teacher say of the same things. Gradient reaches the
student's side alone.
"""

import torch
import torch.nn.functional as F


def feature_error(
    student: torch.Tensor, teacher: torch.Tensor, floor: float = 0.0, unit: str = "absolute"
) -> torch.Tensor:
    """Mean squared difference of (M, D) features.

    Args:
        floor: rows whose mean square is not above it are left out (M2SKD's floor is 1; 0 leaves out
            none).
        unit: "absolute", or "variance": as a part of the teacher's variance over its rows. 0 = the
            same features; 1 = no better than the teacher's mean row. A teacher that learns may
            grow, and the absolute error with it, while the student follows. The variance counts as
            a hundredth of the teacher's mean square at least: few rows, or rows alike, would weigh
            without end.
    """
    teacher = teacher.detach()
    errors = (student - teacher).square().mean(1)
    if unit == "variance":
        smallest = 0.01 * teacher.square().mean() + 1e-12
        errors = errors / torch.maximum((teacher - teacher.mean(0)).square().mean(), smallest)
    return _mean_above(errors, floor)


def logit_divergence(
    student: torch.Tensor,
    teacher: torch.Tensor,
    temperature: float = 1.0,
    kind: str = "kl",
    floor: float = 0.0,
) -> torch.Tensor:
    """How far the student's class probabilities are from the teacher's, mean over rows.

    Args:
        student, teacher: (M, C) logits.
        temperature: both are divided by it before the softmax.
        kind: "kl" = sum_c q log(q / p), the divergence of the student p from the teacher q;
            "absolute" = mean_c q |log(q / p)|, M2SKD's, which no two classes can cancel in; a mean,
            not a sum: its weight and floor are made for that.
        floor: rows whose value is not above it are left out (M2SKD: 0.01).
    """
    log_p, log_q = (
        F.log_softmax(student / temperature, 1),
        F.log_softmax(teacher.detach() / temperature, 1),
    )
    ratio = log_q - log_p
    values = (
        (log_q.exp() * ratio.abs()).mean(1) if kind == "absolute" else (log_q.exp() * ratio).sum(1)
    )
    return _mean_above(values, floor)


def _mean_above(values, floor):
    kept = values[values > floor] if floor > 0 else values
    return kept.mean() if len(kept) else values.sum() * 0.0


def affinity_error(
    student: torch.Tensor, teacher: torch.Tensor, groups: torch.Tensor, most: int
) -> torch.Tensor:
    """Mean absolute difference of the cosines between all rows of a group, summed over the groups
    (M2SKD's affinity distillation).

    Args:
        student, teacher: (M, D).
        groups: (M,) int64; rows of one value are compared with one another, rows below 0 with none.
        most: rows of a group that are compared, drawn at random where there are more: the cost
            grows with their square.
    """
    total = student.sum() * 0.0
    student, teacher = F.normalize(student, dim=1), F.normalize(teacher.detach(), dim=1)
    for group in groups[groups >= 0].unique():
        rows = (groups == group).nonzero()[:, 0]
        if len(rows) > most:
            rows = rows[torch.randperm(len(rows), device="cpu")[:most].to(rows.device)]
        ours, theirs = student[rows], teacher[rows]
        total = total + (ours @ ours.T - theirs @ theirs.T).abs().mean()
    return total
