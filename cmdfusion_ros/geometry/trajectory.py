"""Where the LiDAR was, at any time of a drive."""

from dataclasses import dataclass

import numpy as np

from cmdfusion_ros.frame import require_rigid
from cmdfusion_ros.geometry.transforms import interpolate, invert

_BEYOND = 1.5  # steps before the first and after the last pose that motion is taken to go on


class TimeOutsideError(LookupError):
    """A time at which it is not known where the LiDAR was. The text gives both times."""


@dataclass(frozen=True, eq=False)
class Trajectory:
    """Poses of the LiDAR through a drive.

    Attributes:
        stamps: (T,) int64, ns, strictly growing; T > 0.
        world_from_lidar: (T, 4, 4) float64, rigid.
        longest_gap_ns: between two poses further apart than this nothing is interpolated.
    """

    stamps: np.ndarray
    world_from_lidar: np.ndarray
    longest_gap_ns: int = 1_000_000_000

    def __post_init__(self) -> None:
        if not len(self.stamps) or self.world_from_lidar.shape != (len(self.stamps), 4, 4):
            raise ValueError(
                f"trajectory: expected one (4, 4) pose for each of at least one stamp, got "
                f"{len(self.stamps)} stamps and poses of shape {self.world_from_lidar.shape}"
            )
        if (np.diff(self.stamps) <= 0).any():
            raise ValueError("trajectory: stamps must grow from pose to pose; sort them first")
        for place, pose in enumerate(self.world_from_lidar):
            require_rigid(f"trajectory: pose {place}", pose)

    def at(self, stamp: int) -> np.ndarray:
        """world_from_lidar (4, 4) at `stamp` ns: a straight line and the shortest turn between the
        poses around it. Just before the first and after the last, motion is taken to go on.

        Raises:
            TimeOutsideError: further outside, or in a gap.
        """
        place = int(np.searchsorted(self.stamps, stamp))
        if place < len(self.stamps) and self.stamps[place] == stamp:
            return self.world_from_lidar[place]
        if len(self.stamps) == 1:
            raise self._outside(stamp)
        before = min(max(place - 1, 0), len(self.stamps) - 2)
        first, last = int(self.stamps[before]), int(self.stamps[before + 1])
        fraction = (stamp - first) / (last - first)
        if last - first > self.longest_gap_ns or not -_BEYOND <= fraction <= 1 + _BEYOND:
            raise self._outside(stamp)
        one, other = self.world_from_lidar[before], self.world_from_lidar[before + 1]
        if fraction < 0:  # from the first pose back: `interpolate` goes forward only
            return one @ interpolate(np.eye(4), invert(other) @ one, -fraction)
        if fraction > 1:
            return other @ interpolate(np.eye(4), invert(one) @ other, fraction - 1)
        return interpolate(one, other, fraction)

    def motion(self, stamp: int, other_stamp: int) -> np.ndarray:
        """(4, 4), takes what stands still from the LiDAR's frame at `stamp` to that at the other;
        errors as of `at`."""
        return invert(self.at(other_stamp)) @ self.at(stamp)

    def _outside(self, stamp: int) -> TimeOutsideError:
        first, last = int(self.stamps[0]) / 1e9, int(self.stamps[-1]) / 1e9
        return TimeOutsideError(
            f"at {stamp / 1e9:.3f} s: the drive's poses are from {first:.3f} to {last:.3f} s, "
            f"with gaps of up to {self.longest_gap_ns / 1e9:g} s filled"
        )
