"""What a few seeds and a few dozen streets can say of a difference: t tests, a bootstrap, Holm."""

from collections.abc import Sequence

import numpy as np

_STEPS = 20001  # of the integral of Student's density


def t_tail(t: float, freedom: int) -> float:
    """P(T > t) of Student's t with `freedom` degrees of freedom, by T = sqrt(freedom) tan(angle),
    whose density is cos(angle) ** (freedom - 1)."""
    start = np.arctan2(t, np.sqrt(freedom))
    return _integral(start, freedom) / _integral(-np.pi / 2, freedom)


def _integral(start: float, freedom: int) -> float:
    """Of cos(angle) ** (freedom - 1) from `start` to a quarter turn, by trapezoids."""
    heights = np.maximum(np.cos(np.linspace(start, np.pi / 2, _STEPS)), 0.0) ** (freedom - 1)
    return float((heights[1:] + heights[:-1]).sum() / 2 * (np.pi / 2 - start) / (_STEPS - 1))


def t_quantile(chance: float, freedom: int) -> float:
    """The t that Student's t stays below with this chance, above one half, by bisection."""
    low, high = 0.0, 1e4
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if t_tail(middle, freedom) > 1 - chance else (low, middle)
    return high


def t_interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float] | None:
    """The interval of the mean of `values`; None of fewer than two."""
    if len(values) < 2:
        return None
    half = t_quantile((1 + confidence) / 2, len(values) - 1) * _standard_error(values)
    mean = float(np.mean(values))
    return mean - half, mean + half


def p_of_more(values: Sequence[float], by: float) -> float | None:
    """One-sided p that the mean of `values` is no more than `by`; None of fewer than two."""
    if len(values) < 2:
        return None
    error = _standard_error(values)
    above = float(np.mean(values)) - by
    if error == 0:
        return 0.0 if above > 0 else 1.0
    return t_tail(above / error, len(values) - 1)


def _standard_error(values: Sequence[float]) -> float:
    return float(np.std(values, ddof=1) / np.sqrt(len(values)))


def holm(ps: Sequence[float]) -> list[float]:
    """p values of several claims, each raised as Holm (1979) asks so that the chance of any false
    one among all stays what it says; in their order."""
    order = np.argsort(ps)
    raised, largest = np.empty(len(ps)), 0.0
    for rank, place in enumerate(order):
        largest = max(largest, min(1.0, (len(ps) - rank) * ps[place]))
        raised[place] = largest
    return raised.tolist()


def miou_of_counts(counts: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Mean IoU of each of (..., C, C + 1) confusion matrices over `classes` (K,), labels; classes
    with neither ground truth nor prediction are left out."""
    size = counts.shape[-2]
    hits = np.diagonal(counts[..., :size], axis1=-2, axis2=-1).astype(np.float64)
    union = counts.sum(-1) + counts[..., :size].sum(-2) - hits
    iou = np.divide(hits, union, out=np.full(hits.shape, np.nan), where=union > 0)[..., classes]
    known = np.isfinite(iou)
    total = np.where(known, iou, 0).sum(-1)
    return np.divide(total, known.sum(-1), out=np.zeros(total.shape), where=known.any(-1))


def bootstrap_difference(
    better: np.ndarray,
    than: np.ndarray,
    classes: np.ndarray,
    draws: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
) -> tuple[float, float]:
    """The interval of a difference of mean IoU when other streets (and seeds) had been drawn.

    Args:
        better, than: (seeds, streets, C, C + 1) confusion counts of the same seeds and streets.
        classes: labels that the mean is over.
        draws: resamples of seeds and of streets, with replacement.
    """
    rng = np.random.default_rng(seed)
    seeds, streets = better.shape[:2]
    differences = np.empty(draws)
    for draw in range(draws):
        rows = rng.integers(0, seeds, seeds)
        times = np.bincount(rng.integers(0, streets, streets), minlength=streets)
        one, two = (
            miou_of_counts(np.tensordot(counts[rows], times, (1, 0)), classes)
            for counts in (better, than)
        )
        differences[draw] = (one - two).mean()
    edge = (1 - confidence) / 2
    low, high = np.quantile(differences, (edge, 1 - edge))
    return float(low), float(high)
