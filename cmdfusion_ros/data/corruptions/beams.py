"""Which laser beam a point came from, where the file does not say."""

import numpy as np

from cmdfusion_ros.data.augment.mix import select
from cmdfusion_ros.frame import Frame

BANDS = 64  # where no beams can be told apart
_GAP = np.radians(0.04)  # between the elevations of two beams; jitter within one is less
_FEWEST, _MOST = 8, 160  # beams a scan may have
_ORDERED = 0.95  # least rank agreement of a ring's place in the file with its elevation


def beams_of(points: np.ndarray) -> np.ndarray:
    """(N, 3) points in the order of their file -> (N,) int64, each point's beam, 0 .. B - 1.

    Three ways, the first that fits: a file that holds one beam after the other (SemanticKITTI)
    starts a new one where the azimuth passes straight ahead (Robo3D counts so); beams of a scan
    that was not moved since (nuScenes, made-up streets) lie at sharp elevations with gaps between
    them; of anything else elevation is cut into BANDS of equally many points.
    """
    if not len(points):
        return np.zeros(0, np.int64)
    elevation = np.arctan2(points[:, 2], np.hypot(points[:, 0], points[:, 1])).astype(np.float64)
    for found in (_by_order(points, elevation), _by_gaps(elevation)):
        if found is not None:
            return found
    order = np.argsort(np.argsort(elevation, kind="stable"), kind="stable")
    return order * BANDS // len(points)


def _by_order(points: np.ndarray, elevation: np.ndarray) -> np.ndarray | None:
    turned = np.arctan2(points[:, 1], points[:, 0]) % (2 * np.pi) / (2 * np.pi)
    starts = (turned[1:] < 0.2) & (turned[:-1] > 0.8)
    beams = np.concatenate([[0], np.cumsum(starts)])
    number = int(beams[-1]) + 1
    if not _FEWEST <= number <= _MOST or np.bincount(beams).min() < 8:
        return None
    means = np.bincount(beams, elevation) / np.bincount(beams)
    ranks = np.argsort(np.argsort(means))
    agreement = np.corrcoef(ranks, np.arange(number))[0, 1]
    return beams if abs(agreement) >= _ORDERED else None


def _by_gaps(elevation: np.ndarray) -> np.ndarray | None:
    order = np.argsort(elevation, kind="stable")
    groups = np.concatenate([[0], np.cumsum(np.diff(elevation[order]) > _GAP)])
    if not _FEWEST <= groups[-1] + 1 <= _MOST:
        return None
    beams = np.empty(len(elevation), np.int64)
    beams[order] = groups
    return beams


def without_beams(frame: Frame, beams: np.ndarray, gone: np.ndarray) -> Frame:
    """`frame` without the points whose beam is one of `gone`."""
    return select(frame, ~np.isin(beams, gone))
