"""Fit the temperatures of a network's confidence: one a ring of distance, by maximum likelihood
of the labels of scans that it was not trained on.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cmdfusion_ros.checkpoint.temperatures import MAX_TEMPERATURE, MIN_TEMPERATURE, Temperatures
from cmdfusion_ros.config import SettingsError, check_settings, setting
from cmdfusion_ros.data.readers.data_settings import DataSettings
from cmdfusion_ros.evaluation.metrics import RINGS, RingCalibration, rings_of
from cmdfusion_ros.frame import IGNORE_LABEL, Frame
from cmdfusion_ros.inference import Segmenter

RING_CENTRES = (5.0, 15.0, 25.0, 40.0, 60.0)  # metres, of metrics.RINGS; the last has no end
# a labelled point pulls with a tenth to a half, so about as strong as 200 to 1000 of them
HOLD = 100.0
_POINTS_A_SCAN, _POINTS = 20_000, 4_000_000  # most that are kept, of a scan and of all
_CHUNK = 65_536  # points computed with at once
_MAX_STEPS = 50


@dataclass(frozen=True)
class CalibrationSets:
    """What temperatures are fitted on: a YAML file with the one key `sets`."""

    sets: tuple[DataSettings, ...] = setting(
        (), "sets of labelled scans; `repeat` says how often each scan of a set counts"
    )

    def __post_init__(self) -> None:
        check_settings(self)
        if not self.sets:
            raise SettingsError(
                "sets: expected at least one set of scans, as in a recipe's train_too"
            )


@dataclass(frozen=True, eq=False)
class Answers:
    """What a network said, before any temperature, of some labelled points.

    Attributes:
        probabilities: (M, C) float32. labels: (M,) uint8, none ignored. points: (M, 3) float32,
            metres.
        weight: how often each point counts.
    """

    probabilities: np.ndarray
    labels: np.ndarray
    points: np.ndarray
    weight: float = 1.0


def gather_answers(
    segmenter: Segmenter, frames: Iterable[Frame], num_frames: int, weight: float = 1.0
) -> Answers:
    """The Answers of a Segmenter on labelled Frames: of each at most 20,000 points, drawn by its
    name (fewer of each where there are over 200 Frames).

    Raises:
        ValueError: a Frame without labels, or not one labelled point in all.
    """
    most = min(_POINTS_A_SCAN, max(_POINTS // num_frames, 1))
    found = []
    for frame in frames:
        if frame.labels is None:
            raise ValueError(f"frame {frame.name}: has no labels to calibrate on")
        rows = np.flatnonzero(frame.labels != IGNORE_LABEL)
        if len(rows) > most:
            rows = np.sort(
                np.random.default_rng([*frame.name.encode()]).choice(rows, most, replace=False)
            )
        probabilities, _ = segmenter.probabilities(frame, calibrated=False)
        found.append((probabilities[rows], frame.labels[rows], frame.points[rows]))
    if not sum(len(labels) for _, labels, _ in found):
        raise ValueError(
            f"calibration: {num_frames} scans hold no labelled point; do `dataset` and the class "
            "map fit the labels?"
        )
    return Answers(*(np.concatenate(parts) for parts in zip(*found, strict=True)), weight)


def fit_temperatures(answers: Sequence[Answers]) -> Temperatures:
    """Temperatures at the centres of the rings, under which the labels of several Answers are
    likeliest.

    1 / temperature is fitted, first one number for all points, held to 1, then one at each centre
    (interpolated between), each held to the first, as if by
    some hundred points: J(b) = -sum log p(label) + HOLD / 2 * sum (b / b_before - 1)^2. J is
    convex; Newton's method finds its one minimum.

    Raises:
        ValueError: the answers are no better than chance, so no temperature above 0 is right.
    """
    everything = [np.ones((len(each.labels), 1), np.float32) for each in answers]
    overall = _newton(answers, everything, 1.0)
    if overall[0] <= 1.001 / MAX_TEMPERATURE:
        raise ValueError(
            "calibration: what the network says has nothing to do with these labels; are they the "
            "right labels, and is the network trained?"
        )
    inverse = _newton(answers, [_shares(each.points) for each in answers], overall[0])
    return Temperatures(RING_CENTRES, tuple(round(float(value), 4) for value in 1 / inverse))


def calibration_of(answers: Sequence[Answers], temperatures: Temperatures) -> RingCalibration:
    """RingCalibration of several Answers, before and after Temperatures."""
    parts = []
    for each in answers:
        tempered = temperatures.applied_to(each.probabilities, each.points)
        parts.append(RingCalibration())
        correct = each.probabilities.argmax(1) == each.labels
        parts[-1].add(rings_of(each.points), tempered.max(1), each.probabilities.max(1), correct)
    return RingCalibration.of_all(parts, [each.weight for each in answers])


def summarise(answers: Sequence[Answers], temperatures: Temperatures) -> dict[str, Any]:
    """Plain values: points, ece, ece_uncalibrated, reliability; by_distance with points,
    temperature (at the centre), ece, ece_uncalibrated of each ring.
    """
    calibration = calibration_of(answers, temperatures)
    points = sum(np.bincount(rings_of(each.points), minlength=len(RINGS)) for each in answers)
    by_distance = {
        ring: {
            "points": int(points[number]),
            "temperature": temperatures.values[number],
            **calibration.of_ring(number),
        }
        for number, ring in enumerate(RINGS)
    }
    return {"points": int(points.sum()), "by_distance": by_distance, **calibration.to_dict()}


def _shares(points):
    """(M, K) float32, how much each ring's centre has to say at (M, 3) points: linear in
    distance, as Temperatures interpolates.
    """
    distance = np.hypot(points[:, 0], points[:, 1])
    return np.stack(
        [np.interp(distance, RING_CENTRES, row) for row in np.eye(len(RING_CENTRES))], 1
    ).astype(np.float32)


def _newton(answers, shares, prior):
    """(K,) float64, the b of least J; `shares` are arrays (M, K), one for each of the answers."""
    low, high = 1 / MAX_TEMPERATURE, 1 / MIN_TEMPERATURE
    inverse = np.full(shares[0].shape[1], prior)
    value, slope, curvature = _objective(answers, shares, prior, inverse)
    for _ in range(_MAX_STEPS):
        step = -np.linalg.solve(curvature, slope)
        if -slope @ step < 1e-9 * abs(value):
            break
        for length in 0.5 ** np.arange(20):
            tried = np.clip(inverse + length * step, low, high)
            result = _objective(answers, shares, prior, tried)
            if result[0] < value:
                inverse, (value, slope, curvature) = tried, result
                break
        else:
            break  # at a bound, or as exact as float64 gets
    return inverse


def _objective(answers, shares, prior, inverse):
    """J at `inverse` (K,), its gradient (K,) and its Hessian (K, K)."""
    value = HOLD / 2 * float(((inverse / prior - 1) ** 2).sum())
    slope = HOLD * (inverse / prior - 1) / prior
    curvature = np.eye(len(inverse)) * HOLD / prior**2
    for each, share in zip(answers, shares, strict=True):
        for start in range(0, len(each.labels), _CHUNK):
            part = slice(start, start + _CHUNK)
            hats = share[part].astype(np.float64)
            # a constant a row makes no difference
            logits = np.log(np.maximum(each.probabilities[part].astype(np.float64), 1e-38))
            scaled = (hats @ inverse)[:, None] * logits
            powers = np.exp(scaled - scaled.max(1, keepdims=True))
            chances = powers / powers.sum(1, keepdims=True)
            rows = np.arange(len(hats))
            own = logits[rows, each.labels[part]]
            mean = (chances * logits).sum(1)
            variance = np.maximum((chances * logits**2).sum(1) - mean**2, 0)
            value -= each.weight * float(
                np.log(np.maximum(chances[rows, each.labels[part]], 1e-300)).sum()
            )
            slope = slope + each.weight * hats.T @ (mean - own)
            curvature = curvature + each.weight * (hats * variance[:, None]).T @ hats
    return value, slope, curvature
