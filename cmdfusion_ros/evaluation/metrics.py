"""The metric of the benchmarks: a confusion matrix over all labelled points, IoU from it; also by
distance, and calibration.

Only points whose ground truth is ignore are left out. A labelled point that is predicted as nothing
counts against its class: leaving such points out, as several published evaluation scripts do,
raises the score.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from cmdfusion_ros.class_map import ClassMap
from cmdfusion_ros.frame import IGNORE_LABEL, Frame, Prediction
from cmdfusion_ros.geometry.projection import project_points

DISTANCES = (0.0, 10.0, 20.0, 30.0, 50.0, np.inf)  # metres; horizontal distance from the sensor
RINGS = tuple(f"{near:g}-{far:g}" for near, far in pairwise(DISTANCES))
NUM_CONFIDENCE_BINS = 15


class ConfusionMatrix:
    """Counts of (ground truth, prediction) over any number of scans.

    `counts` is (C, C + 1) int64; rows are ground truth, the last column holds points predicted as
    IGNORE_LABEL.
    """

    def __init__(self, num_classes: int):
        self.num_classes = num_classes
        self.counts = np.zeros((num_classes, num_classes + 1), np.int64)

    def add(self, labels: np.ndarray, predicted: np.ndarray) -> None:
        """Count (N,) ground-truth labels against (N,) predicted labels; rows with ground truth
        IGNORE_LABEL are left out.

        Raises:
            ValueError: different lengths, or a label that is neither a class nor IGNORE_LABEL.
        """
        if labels.shape != predicted.shape:
            raise ValueError(
                f"confusion matrix: expected as many predictions as labels, got {predicted.shape} "
                f"for {labels.shape}"
            )
        rows = self._checked("labels", labels)
        columns = self._checked("predictions", predicted)
        valid = rows < self.num_classes
        flat = rows[valid] * (self.num_classes + 1) + columns[valid]
        self.counts += np.bincount(flat, minlength=self.counts.size).reshape(self.counts.shape)

    def _checked(self, what, labels):
        labels = np.where(labels == IGNORE_LABEL, self.num_classes, labels).astype(np.int64)
        if len(labels) and not 0 <= labels.min() <= labels.max() <= self.num_classes:
            raise ValueError(
                f"confusion matrix: {what}: expected 0..{self.num_classes - 1} or {IGNORE_LABEL}, "
                f"got {labels.min()} to {labels.max()}"
            )
        return labels

    @property
    def points(self) -> np.ndarray:
        """(C,) int64, labelled points of each class."""
        return self.counts.sum(axis=1)

    @property
    def iou(self) -> np.ndarray:
        """(C,) float64, TP / (TP + FP + FN); NaN for a class with neither ground truth nor
        prediction.
        """
        hits = np.diag(self.counts[:, : self.num_classes]).astype(np.float64)
        union = self.counts.sum(axis=1) + self.counts[:, : self.num_classes].sum(axis=0) - hits
        return np.divide(hits, union, out=np.full(self.num_classes, np.nan), where=union > 0)

    @property
    def miou(self) -> float:
        """Mean IoU over the classes that have ground truth or a prediction; NaN where there is
        none.
        """
        iou = self.iou
        return float(np.nanmean(iou)) if np.isfinite(iou).any() else float("nan")

    @property
    def miou_of_present(self) -> float:
        """Mean IoU over the classes that have ground truth, NaN without any. On few scans it is the
        fairer comparison: in `miou` one point taken for a class
        that does not occur costs 1 / C."""
        present = self.points > 0
        return float(self.iou[present].mean()) if present.any() else float("nan")

    @property
    def chance_iou(self) -> np.ndarray:
        """(C,) float64, the IoU of labels drawn at random, each class as often as it occurs here:
        share / (2 - share), as hits are share^2 of the points
        and the union is 2 share - share^2. NaN where nothing is labelled."""
        share = self.points / max(self.points.sum(), 1)
        return share / (2 - share) if self.points.any() else np.full(self.num_classes, np.nan)

    @property
    def accuracy(self) -> float:
        """Share of labelled points that are right; NaN without points."""
        total = self.counts.sum()
        return (
            float(np.trace(self.counts[:, : self.num_classes]) / total) if total else float("nan")
        )


class Calibration:
    """Expected calibration error: the mean gap between confidence and accuracy over bins of
    confidence, weighted by their points.
    """

    def __init__(self, num_bins: int = NUM_CONFIDENCE_BINS):
        self._sums = np.zeros((3, num_bins))  # points, confidence, hits

    def add(self, confidence: np.ndarray, correct: np.ndarray) -> None:
        """Count (N,) confidences in [0, 1] and (N,) bool, whether the prediction was right. A
        bin includes its upper edge, the first also 0.
        """
        num_bins = self._sums.shape[1]
        bins = np.clip(
            np.ceil(confidence.astype(np.float64) * num_bins).astype(np.int64) - 1, 0, num_bins - 1
        )
        for row, weights in enumerate(
            (None, confidence.astype(np.float64), correct.astype(np.float64))
        ):
            self._sums[row] += np.bincount(bins, weights, minlength=num_bins)

    @classmethod
    def of_all(
        cls, parts: "Sequence[Calibration]", weights: Sequence[float] | None = None
    ) -> "Calibration":
        """What `parts` counted, together; with `weights` as if each had been counted so often."""
        total = cls(parts[0]._sums.shape[1])
        total._sums = sum(
            weight * part._sums
            for part, weight in zip(parts, weights or [1] * len(parts), strict=True)
        )
        return total

    def bins(self) -> list[dict[str, Any]]:
        """Plain values for a reliability diagram: of each bin its points, and their mean
        confidence and accuracy (None without points).
        """
        return [
            {
                "points": int(points),
                "confidence": round(confidence / points, 6) if points else None,
                "accuracy": round(hits / points, 6) if points else None,
            }
            for points, confidence, hits in self._sums.T.tolist()
        ]

    @property
    def error(self) -> float:
        """The expected calibration error in [0, 1]; NaN without points."""
        points, confidence, hits = self._sums
        return (
            float(np.abs(confidence - hits).sum() / points.sum()) if points.sum() else float("nan")
        )


class RingCalibration:
    """Calibration in each ring of DISTANCES, of confidence with temperatures and without."""

    def __init__(self):
        self.after, self.before = (tuple(Calibration() for _ in DISTANCES[1:]) for _ in range(2))

    def add(
        self,
        rings: np.ndarray,
        confidence: np.ndarray,
        raw_confidence: np.ndarray,
        correct: np.ndarray,
    ) -> None:
        """Count (N,) confidences after and before temperatures, in rings numbered by (N,)
        `rings`, see `rings_of`.
        """
        for number, (after, before) in enumerate(zip(self.after, self.before, strict=True)):
            ring = rings == number
            after.add(confidence[ring], correct[ring])
            before.add(raw_confidence[ring], correct[ring])

    @classmethod
    def of_all(
        cls, parts: "Sequence[RingCalibration]", weights: Sequence[float]
    ) -> "RingCalibration":
        """What `parts` counted, as if each had been counted as often as its weight says."""
        total = cls()
        total.after = tuple(
            Calibration.of_all(same, weights)
            for same in zip(*(part.after for part in parts), strict=True)
        )
        total.before = tuple(
            Calibration.of_all(same, weights)
            for same in zip(*(part.before for part in parts), strict=True)
        )
        return total

    def of_ring(self, number: int) -> dict[str, Any]:
        """Plain values: ece, ece_uncalibrated of the points of a ring."""
        return {
            "ece": _plain(self.after[number].error),
            "ece_uncalibrated": _plain(self.before[number].error),
        }

    def to_dict(self) -> dict[str, Any]:
        """Plain values of all points: ece, ece_uncalibrated, and under `reliability` the bins of
        both.
        """
        after, before = Calibration.of_all(self.after), Calibration.of_all(self.before)
        return {
            "ece": _plain(after.error),
            "ece_uncalibrated": _plain(before.error),
            "reliability": {"calibrated": after.bins(), "uncalibrated": before.bins()},
        }


@dataclass(frozen=True)
class Scores:
    """All that is measured of a network on a set of scans: `add` a scan at a time, then read
    `to_dict`.
    """

    class_map: ClassMap
    overall: ConfusionMatrix
    by_distance: tuple  # ConfusionMatrix of each ring of DISTANCES
    calibration: RingCalibration
    in_view: ConfusionMatrix  # points that a camera of the frame sees
    out_of_view: ConfusionMatrix

    @classmethod
    def empty(cls, class_map: ClassMap) -> "Scores":
        rings = tuple(ConfusionMatrix(class_map.num_classes) for _ in DISTANCES[1:])
        overall, inside, outside = (ConfusionMatrix(class_map.num_classes) for _ in range(3))
        return cls(class_map, overall, rings, RingCalibration(), inside, outside)

    def add(
        self, frame: Frame, prediction: Prediction, raw_confidence: np.ndarray | None = None
    ) -> None:
        """Count the Prediction of a Frame. A frame without views counts neither as in view nor as
        out of it.

        Args:
            raw_confidence: (N,) confidence before temperatures; None = that of the prediction.

        Raises:
            ValueError: the Frame has no labels.
        """
        if frame.labels is None:
            raise ValueError(f"frame {frame.name}: has no labels to score against")
        self.overall.add(frame.labels, prediction.labels)
        valid = frame.labels != IGNORE_LABEL
        rings = rings_of(frame.points)
        raw_confidence = prediction.confidence if raw_confidence is None else raw_confidence
        correct = prediction.labels == frame.labels
        self.calibration.add(
            rings[valid], prediction.confidence[valid], raw_confidence[valid], correct[valid]
        )
        for number, matrix in enumerate(self.by_distance):
            matrix.add(frame.labels[rings == number], prediction.labels[rings == number])
        if frame.views:
            seen = seen_points(frame)
            for matrix, mask in ((self.in_view, seen), (self.out_of_view, ~seen)):
                matrix.add(frame.labels[mask], prediction.labels[mask])

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: miou, accuracy; iou, chance and points by class name; confusion,
        (C, C + 1) as of ConfusionMatrix; by_distance by "near-far" in metres; in_view, out_of_view;
        ece, ece_uncalibrated, reliability (see RingCalibration). NaN becomes None.
        """
        names = self.class_map.names
        return {
            "miou": _plain(self.overall.miou),
            "accuracy": _plain(self.overall.accuracy),
            "iou": {
                name: _plain(value) for name, value in zip(names, self.overall.iou, strict=True)
            },
            "chance": {
                name: _plain(value)
                for name, value in zip(names, self.overall.chance_iou, strict=True)
            },
            "points": {
                name: int(value) for name, value in zip(names, self.overall.points, strict=True)
            },
            "confusion": self.overall.counts.tolist(),
            "by_distance": {
                ring: {**_summary(matrix), **self.calibration.of_ring(number)}
                for number, (ring, matrix) in enumerate(zip(RINGS, self.by_distance, strict=True))
            },
            "in_view": _summary(self.in_view),
            "out_of_view": _summary(self.out_of_view),
            **self.calibration.to_dict(),
        }


def rings_of(points: np.ndarray) -> np.ndarray:
    """(N,) int64, the ring of DISTANCES that each of (N, 3) points is in; a ring includes its
    near edge.
    """
    return np.searchsorted(DISTANCES, np.hypot(points[:, 0], points[:, 1]), side="right") - 1


def seen_points(frame: Frame) -> np.ndarray:
    """(N,) bool, the points of a Frame that fall into any of its views."""
    points = frame.points if frame.measured_points is None else frame.measured_points
    seen = np.zeros(len(points), bool)
    for view in frame.views:
        seen |= project_points(
            points, view.intrinsic, view.camera_from_lidar, view.image_size, view.distortion
        )[1]
    return seen


def _summary(matrix):
    return {"miou": _plain(matrix.miou), "points": int(matrix.counts.sum())}


def _plain(value):
    return None if np.isnan(value) else round(float(value), 6)


def score(
    predict: Callable[[Frame], Prediction], frames: Iterable[Frame], class_map: ClassMap
) -> Scores:
    """Scores of `predict(frame) -> Prediction` over labelled Frames."""
    scores = Scores.empty(class_map)
    for frame in frames:
        scores.add(frame, predict(frame))
    return scores
