"""Which scans of a drive are worth a person's time: those that the network is unsure of, and that
differ from one another.
"""

import numpy as np

from cmdfusion_ros.frame import IGNORE_LABEL, Prediction

_RANGES = np.geomspace(2.0, 80.0, 9)  # metres; what is nearer or further counts with the last
_HEIGHTS = np.linspace(-3.0, 5.0, 9)  # metres over the LiDAR
# What a scan of which the network is sure counts beside the most uncertain one: networks are sure
# of much that they never saw, so a strange scan must not drop out for being sure.
_SURE = 0.5


def descriptor(points: np.ndarray, prediction: Prediction, num_classes: int) -> np.ndarray:
    """(D,) what a scan shows: the shares of its points in each class (C), range (8) and height (8),
    as square roots, so that the distance of two is Hellinger's, three times over. All 0 of a scan
    without points.
    """
    labels = prediction.labels[prediction.labels != IGNORE_LABEL]
    distance = np.clip(np.linalg.norm(points, axis=1), _RANGES[0], _RANGES[-1])
    height = np.clip(points[:, 2], _HEIGHTS[0], _HEIGHTS[-1])
    counts = (
        np.bincount(labels, minlength=num_classes),
        np.histogram(distance, _RANGES)[0],
        np.histogram(height, _HEIGHTS)[0],
    )
    return np.sqrt(np.concatenate([each / max(each.sum(), 1) for each in counts]))


def uncertainty(prediction: Prediction) -> float:
    """1 - the mean confidence of a scan's labels; 0 where it has none."""
    known = prediction.labels != IGNORE_LABEL
    return float(1 - prediction.confidence[known].mean()) if known.any() else 0.0


def worth_labelling(descriptors: np.ndarray, uncertainties: np.ndarray, count: int) -> list[int]:
    """The rows of `count` scans, ascending: first the most uncertain one, then again and again that
    with the largest product of its weight (1 for the most uncertain one, down to a half for no
    uncertainty) and its distance from the nearest one taken.

    Args:
        descriptors: (S, D). uncertainties: (S,), at least 0. count: all where it is S or more.
    """
    if count >= len(descriptors):
        return list(range(len(descriptors)))
    weights = _SURE + (1 - _SURE) * uncertainties / max(uncertainties.max(), 1e-9)
    taken = [int(weights.argmax())]
    nearest = np.full(len(descriptors), np.inf)
    while len(taken) < count:
        nearest = np.minimum(nearest, np.linalg.norm(descriptors - descriptors[taken[-1]], axis=1))
        merit = weights * nearest
        merit[taken] = -1.0
        taken.append(int(merit.argmax()))
    return sorted(taken)
