"""How the clock of a camera lies to the clock of the LiDAR, worked out from the stamps of both."""

from dataclasses import dataclass

import numpy as np

_GAP = 1.6  # periods between two stamps
# of the image period: a camera whose stamps scatter less about their offset is triggered together
# with the LiDAR
_LOCKED = 0.1
# where a camera has too few images to know its period; the node's own default
_UNKNOWN_TOLERANCE_NS = 50_000_000


@dataclass(frozen=True)
class RecordedTiming:
    """All int ns.

    Attributes:
        period: median time between images, 0 for fewer than two.
        offset: image stamp minus cloud stamp when the two belong together.
        tolerance: how far from that an image may lie.
        lag: how much later than the cloud such an image was recorded (95th percentile; negative:
            before it).
    """

    period: int
    offset: int
    tolerance: int
    lag: int


def period_of(stamps: np.ndarray) -> int:
    """Median time between stamps (M,), int ns; 0 for fewer than two."""
    return int(np.median(np.diff(np.sort(stamps)))) if len(stamps) > 1 else 0


def stamps_tell(stamps: np.ndarray) -> bool:
    """Whether stamps (M,), int ns, tell messages apart: none is 0, and they change."""
    return bool(stamps.all()) and (len(stamps) < 2 or 2 * len(np.unique(stamps)) > len(stamps))


def gaps_in(stamps: np.ndarray) -> np.ndarray:
    """Rows of (M,) stamps, int ns, after which the next is more than 1.6 usual periods later."""
    return np.flatnonzero(np.diff(stamps) > _GAP * (period_of(stamps) or np.inf))


def camera_timing(
    images: np.ndarray, images_recorded: np.ndarray, clouds: np.ndarray, clouds_recorded: np.ndarray
) -> RecordedTiming:
    """RecordedTiming of a camera.

    The phase of a camera is the circular mean of its stamps relative to the clouds', because near
    half a period some nearest images lie before and some after their clouds. In that case (0.45 of
    a period or more) the earlier image is meant: it is there already when the cloud comes.
    A camera without a fixed phase runs free: offset 0, any image within half a period.

    Args:
        images, images_recorded: (I,) int64 ns, header stamps and recording times. clouds,
            clouds_recorded: (M,) likewise.
    """
    period = period_of(images)
    if not period:
        return RecordedTiming(0, 0, _UNKNOWN_TOLERANCE_NS, 0)
    # (M,) signed ns
    nearest = images[np.abs(images[None, :] - clouds[:, None]).argmin(axis=1)] - clouds
    # clouds from before or after the camera's time tell nothing
    nearest = nearest[np.abs(nearest) < period]
    turns = np.exp(2j * np.pi * nearest / period).mean() if len(nearest) else 0.0
    phase = np.angle(turns) / (2 * np.pi)  # of a period, in (-0.5, 0.5]
    scatter = np.sqrt(max(-2 * np.log(max(abs(turns), 1e-9)), 0.0)) / (2 * np.pi)
    if scatter > _LOCKED:
        offset, tolerance = 0, round(0.55 * period)
    else:
        offset = round((phase - 1 if phase > 0.45 else phase) * period)
        tolerance = round(max(0.2, 4 * scatter) * period)
    pick = np.abs(images[None, :] - clouds[:, None] - offset).argmin(axis=1)
    matched = np.abs(images[pick] - clouds - offset) <= tolerance
    lags = (images_recorded[pick] - clouds_recorded)[matched]
    return RecordedTiming(
        period, offset, tolerance, int(np.percentile(lags, 95)) if len(lags) else 0
    )
