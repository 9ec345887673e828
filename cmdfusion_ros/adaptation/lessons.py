"""The labels that a network learns from a scan: the teacher's, and its own where it has shown that
it can be believed."""

from dataclasses import dataclass

import numpy as np

from cmdfusion_ros.adaptation.settings import LessonSettings
from cmdfusion_ros.class_map import ClassMap
from cmdfusion_ros.frame import IGNORE_LABEL

_BINS = 50  # of confidence
_LEAST_POINTS = 200  # answers that must have been compared before a class is believed


@dataclass(frozen=True, eq=False)
class OwnTrust:
    """From which confidence on the network's own answers are believed.

    Attributes:
        least: (C,) float32, for each class it answers; over 1 where it is never believed.
    """

    least: np.ndarray

    def believed(self, labels: np.ndarray, confidence: np.ndarray) -> np.ndarray:
        """(N,) bool of (N,) answers of the network."""
        return confidence >= self.least[labels]


class TrustCounts:
    """Compares the network's answers with the teacher's, by class and confidence."""

    def __init__(self, num_classes: int):
        self._counts = np.zeros((2, num_classes, _BINS), np.int64)  # all, agreed

    def add(self, own: np.ndarray, confidence: np.ndarray, taught: np.ndarray) -> None:
        """Count (N,) answers of the network, (N,) their confidence, (N,) the teacher's labels."""
        known = taught != IGNORE_LABEL
        own, agree = own[known].astype(np.int64), own[known] == taught[known]
        bins = np.clip((confidence[known] * _BINS).astype(np.int64), 0, _BINS - 1)
        np.add.at(self._counts[0], (own, bins), 1)
        np.add.at(self._counts[1], (own[agree], bins[agree]), 1)

    def trust(self, agreement: float) -> OwnTrust:
        """For each class the least confidence from which on its answers, all together, agree with
        the teacher as often as `agreement` says."""
        above = self._counts[:, :, ::-1].cumsum(2)[:, :, ::-1]  # of answers at least as sure
        good = (above[0] >= _LEAST_POINTS) & (above[1] >= agreement * above[0])
        least = np.where(good.any(1), good.argmax(1) / _BINS, 2.0)
        return OwnTrust(least.astype(np.float32))


def make_lesson(
    taught: np.ndarray,
    own: np.ndarray,
    confidence: np.ndarray,
    trust: OwnTrust,
    class_map: ClassMap,
    settings: LessonSettings,
) -> np.ndarray:
    """(N,) uint8 labels to learn.

    The teacher's label stands, but for classes that it seldom finds: where the network sees one of
    those, the teacher's other class is no proof (it says road of many a sidewalk), and nothing is
    learnt there. Where the teacher is silent, the network's own answer is kept if it is believed.

    Args:
        taught: (N,) uint8, the teacher's labels. own: (N,) uint8, confidence: (N,), the network's
            answers. trust: OwnTrust.
    """
    seldom = [class_map.label(name) for name in settings.seldom_found if name in class_map.names]
    sees = np.isin(own, seldom) & (confidence >= settings.seldom_confidence)
    lesson = np.where(sees & (taught != own), IGNORE_LABEL, taught)
    silent = taught == IGNORE_LABEL
    believed = silent & trust.believed(own, confidence)
    return np.where(believed, own, lesson).astype(np.uint8)
