"""A flat scan of what stands about, for stacks that know no clouds: the nearest point of every
direction.
"""

import numpy as np

from cmdfusion_ros.class_map import ClassMap
from cmdfusion_ros.frame import Prediction
from cmdfusion_ros.labelling.labelled_cloud import LabelledCloud
from cmdfusion_ros.labelling.sections import ScanSettings

MAX_TILT_DEG = 10.0  # between the z axis of the scan's frame and up


def scan_directions(angle_increment: float) -> int:
    """How many rays a scan of the full circle has, `angle_increment` degrees or a little less
    apart.
    """
    return max(int(np.ceil(360.0 / angle_increment - 1e-6)), 4)


def nearest_ranges(
    points: np.ndarray, directions: int, min_range: float, max_range: float
) -> np.ndarray:
    """The distance of the nearest point around each ray.

    Args:
        points: (N, 2) or (N, 3), metres, x forward, y left; rows that are not finite do not count.
        directions: D rays, the first at -pi, one every 2 pi / D.
        min_range, max_range: metres over the ground plane; both ends count.

    Returns:
        (D,) float32, metres; infinity where there is nothing (REP 117).
    """
    distance = np.hypot(points[:, 0], points[:, 1])
    seen = np.isfinite(distance) & (distance >= min_range) & (distance <= max_range)
    angle = np.arctan2(points[seen, 1], points[seen, 0])
    ray = np.rint((angle + np.pi) * (directions / (2 * np.pi))).astype(np.int64) % directions
    ranges = np.full(directions, np.inf, np.float32)
    np.minimum.at(ranges, ray, distance[seen].astype(np.float32))
    return ranges


def heights_of(labelled: LabelledCloud, points: np.ndarray) -> np.ndarray:
    """(M,) metres of the points that the network saw: over the ground where leveling has found it,
    else z of `points` ((N, 3), the cloud's rows in the frame of the scan).
    """
    placement = labelled.placement
    if placement is not None and placement.sure and np.isfinite(placement.height):
        return labelled.frame.points[:, 2] + np.float32(placement.height)
    return points[labelled.rows][:, 2]


def obstacle_rows(
    heights: np.ndarray,
    prediction: Prediction,
    class_map: ClassMap,
    rule: ScanSettings,
    min_probability: float,
) -> np.ndarray:
    """(M,) bool: the points at the heights of `rule` that are of its classes, or of which the
    network is not sure.

    Args:
        heights: (M,) metres. prediction: M labels in the classes of `class_map`.
        min_probability: from which the network is sure that a point is of another class.
    """
    rows = (heights >= rule.min_height) & (heights <= rule.max_height)
    if rule.classes:
        wanted = np.zeros(256, bool)
        wanted[[class_map.label(name) for name in rule.classes]] = True
        rows &= wanted[prediction.labels] | ~(prediction.confidence >= min_probability)
    return rows
