"""Intensity as networks read it. Sensors differ in full scale and in how they compress what comes
back, so beside the value itself stands its rank within the scan, which no such difference changes.
"""

import numpy as np

USUAL_INTENSITY = (0.2, 0.2)  # mean and deviation over scans of HDL-64E and Pandar64
_RANK_DEVIATION = 12**-0.5  # of numbers spread evenly over [0, 1]
_LEVELS = 65536  # as fine as sensors that give 16 bits


def intensity_rank(intensity: np.ndarray) -> np.ndarray:
    """The rank of each point's intensity within its scan (histogram equalisation).

    Args:
        intensity: (N,) float32 in [0, 1]; values outside count as the nearer end.

    Returns:
        (N,) float32 in (0, 1): the part of the scan that is darker, and half of what is as dark.
        All 0.5 where the scan has no intensity, so all of them are equal.
    """
    levels = np.clip(intensity * np.float32(_LEVELS - 1), 0, _LEVELS - 1).astype(np.int32)
    counts = np.bincount(levels, minlength=_LEVELS)
    ranks = (np.cumsum(counts) - counts / 2) / max(len(levels), 1)
    return ranks.astype(np.float32)[levels]


def scaled_intensity(intensity: np.ndarray, rank: np.ndarray | None = None) -> np.ndarray:
    """What networks with scaled inputs read of the intensity of one scan.

    Args:
        intensity: (N,) float32 in [0, 1]; all equal where the sensor gives none.
        rank: (N,) float32, `intensity_rank` of the scan that these points are a part of;
            None = they are the whole scan.

    Returns:
        (N, 2) float32: the value and the rank, each less its usual mean and over its usual
        deviation. A column is 0, its mean, where it is missing.
    """
    if rank is None:
        rank = intensity_rank(intensity)
    scaled = np.zeros((len(intensity), 2), np.float32)
    if len(intensity) and intensity.min() < intensity.max():
        mean, deviation = USUAL_INTENSITY
        scaled[:, 0] = (intensity - np.float32(mean)) / np.float32(deviation)
    scaled[:, 1] = (rank - np.float32(0.5)) / np.float32(_RANK_DEVIATION)
    return scaled
