"""What images change in the mean IoU of a set of scans, and whether that set can tell.

Few points of a rare class can turn a mean over classes: of 529,000 points, 84 of terrain and 451 of
poles once decided that a network should look away from images. So a class counts from a number of
points and scans on, and the difference has an interval over the scans.
"""

from typing import Any

import numpy as np

from cmdfusion_ros.class_map import ClassMap
from cmdfusion_ros.evaluation.metrics import ConfusionMatrix
from cmdfusion_ros.evaluation.statistics import bootstrap_difference, miou_of_counts

MIN_CLASS_POINTS = 1000  # labelled points of a class in all scans together
MIN_CLASS_SCANS = 3  # scans that have the class
MIN_SCANS = 5  # with fewer, resampling the scans says nothing


class ImageGain:
    """Confusion counts of each scan with all of its cameras and with none."""

    def __init__(self, class_map: ClassMap):
        self._class_map = class_map
        self._with: list[np.ndarray] = []
        self._without: list[np.ndarray] = []

    def add(self, labels: np.ndarray, with_images: np.ndarray, without: np.ndarray) -> None:
        """Count (N,) true labels against the (N,) labels given with and without images."""
        for kept, predicted in ((self._with, with_images), (self._without, without)):
            matrix = ConfusionMatrix(self._class_map.num_classes)
            matrix.add(labels, predicted)
            kept.append(matrix.counts)

    def to_dict(self) -> dict[str, Any] | None:
        """Plain values: `miou`, mean IoU with all cameras less that with none, over `classes`
        (names of those with MIN_CLASS_POINTS points or more, in MIN_CLASS_SCANS scans or more);
        `low` and `high`, the ends of its 95 % interval over the `scans` (bootstrap), None of fewer
        than MIN_SCANS. None where no scan or no class is enough.
        """
        if not self._with:
            return None
        sides = [np.stack(counts)[None] for counts in (self._with, self._without)]
        points = sides[0][0].sum(-1)  # scans, classes
        enough = (points.sum(0) >= MIN_CLASS_POINTS) & ((points > 0).sum(0) >= MIN_CLASS_SCANS)
        classes = np.flatnonzero(enough)
        if not len(classes):
            return None
        ours, theirs = (float(miou_of_counts(side.sum((0, 1)), classes)) for side in sides)
        low, high = (
            (round(edge, 6) for edge in bootstrap_difference(*sides, classes))
            if len(self._with) >= MIN_SCANS
            else (None, None)
        )
        return {
            "miou": round(ours - theirs, 6),
            "low": low,
            "high": high,
            "classes": [self._class_map.names[label] for label in classes],
            "scans": len(self._with),
        }
