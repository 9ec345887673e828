"""What was said of the cubes of space through a drive: counts of votes by class, merged as they
come, so that memory grows with the places seen and not with the scans."""

from dataclasses import dataclass
from itertools import product

import numpy as np

_HALF = 1 << 20  # voxels from the origin that a key can hold each way: 100 km at 0.1 m
_PENDING = 2_000_000  # rows that wait before they are merged


@dataclass(frozen=True, eq=False)
class VoxelSums:
    """The content of a VoxelMap, one row a voxel, in the order of its keys.

    Attributes:
        keys: (V,) int64, see `voxel_keys`.
        points: (V,) float32, how many points fell in.
        position: (V, 3) float64, their mean, metres.
        intensity: (V,) float32, their mean.
        votes: (V, C) float32, sum of the weights of the votes for each class.
        first, last: (V,) int64 ns, stamps of the first and the last vote.
    """

    keys: np.ndarray
    points: np.ndarray
    position: np.ndarray
    intensity: np.ndarray
    votes: np.ndarray
    first: np.ndarray
    last: np.ndarray

    def rows_of(self, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(rows, known): for each of (N,) keys its row here, and whether it is known at all."""
        if not len(self.keys):
            return np.zeros(len(keys), np.int64), np.zeros(len(keys), bool)
        rows = np.searchsorted(self.keys, keys).clip(max=len(self.keys) - 1)
        return rows, self.keys[rows] == keys

    def posterior(self, prior: float) -> tuple[np.ndarray, np.ndarray]:
        """((V,) uint8 most likely class, (V,) float32 its probability): the mean of the Dirichlet
        distribution over classes that starts with `prior` votes for each and has counted the votes
        (as LeAP fuses labels in voxels). Where nobody voted, class 0 with 1 / C."""
        counts = self.votes + np.float32(prior)
        best = counts.argmax(1)
        share = counts[np.arange(len(counts)), best] / counts.sum(1)
        return best.astype(np.uint8), share.astype(np.float32)


def voxel_keys(points: np.ndarray, voxel_size: float) -> np.ndarray:
    """(N,) int64, one number for each cube of `voxel_size` metres that a (N, 3) point lies in.

    Raises:
        ValueError: a point lies further from the origin than keys can say.
    """
    cells = np.floor(points.astype(np.float64) / voxel_size).astype(np.int64)
    if len(cells) and np.abs(cells).max() >= _HALF:
        raise ValueError(
            f"voxel map: a point lies over {_HALF * voxel_size / 1000:.0f} km from the origin; "
            "are the poses those of a global grid (UTM)? take the first pose from all"
        )
    cells += _HALF
    return (cells[:, 0] << 42) | (cells[:, 1] << 21) | cells[:, 2]


def neighbour_keys(keys: np.ndarray) -> np.ndarray:
    """(M,) int64, unique, ascending: `voxel_keys` and those of the 26 cubes around each."""
    steps = np.array(list(product((-1, 0, 1), repeat=3)), np.int64)
    offsets = (steps[:, 0] << 42) + (steps[:, 1] << 21) + steps[:, 2]
    return np.unique(np.unique(keys)[:, None] + offsets)


class VoxelMap:
    """Sums of points and votes in cubes.

    Args:
        voxel_size: edge, metres. num_classes: C.
    """

    def __init__(self, voxel_size: float, num_classes: int):
        if not voxel_size > 0:
            raise ValueError(f"voxel map: expected an edge over 0 m, got {voxel_size}")
        self.voxel_size, self.num_classes = voxel_size, num_classes
        self._columns = 5 + num_classes  # points, 3 x position, intensity, votes
        self._keys = np.zeros(0, np.int64)
        self._sums = np.zeros((0, self._columns))
        self._times = np.zeros((0, 2), np.int64)
        self._waiting: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []

    def add(
        self,
        points: np.ndarray,
        intensity: np.ndarray,
        labels: np.ndarray,
        weights: np.ndarray,
        stamp: int,
    ) -> None:
        """Count the points of one scan.

        Args:
            points: (N, 3) in the world's frame, metres. intensity: (N,).
            labels: (N,) uint8, classes voted for; those of C and over vote for none.
            weights: (N,) float, how much each vote counts.
            stamp: of the scan, ns.
        """
        if not len(points):
            return
        keys, place = np.unique(voxel_keys(points, self.voxel_size), return_inverse=True)
        sums = np.zeros((len(keys), self._columns))
        sums[:, 0] = np.bincount(place, minlength=len(keys))
        for axis in range(3):
            sums[:, 1 + axis] = np.bincount(place, points[:, axis].astype(np.float64), len(keys))
        sums[:, 4] = np.bincount(place, intensity.astype(np.float64), len(keys))
        votes = labels < self.num_classes
        np.add.at(sums, (place[votes], 5 + labels[votes].astype(np.int64)), weights[votes])
        times = np.empty((len(keys), 2), np.int64)
        times[:] = np.iinfo(np.int64).max, np.iinfo(np.int64).min
        times[place[votes]] = stamp
        self._waiting.append((keys, sums, times))
        if sum(len(each[0]) for each in self._waiting) > _PENDING:
            self._merge()

    def _merge(self) -> None:
        if not self._waiting:
            return
        parts = [(self._keys, self._sums, self._times), *self._waiting]
        self._waiting = []
        keys = np.concatenate([part[0] for part in parts])
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
        starts = np.flatnonzero(np.diff(keys, prepend=keys[0] - 1))
        times = np.concatenate([part[2] for part in parts])[order]
        self._keys = keys[starts]
        self._sums = np.add.reduceat(np.concatenate([part[1] for part in parts])[order], starts)
        first = np.minimum.reduceat(times[:, 0], starts)
        self._times = np.column_stack([first, np.maximum.reduceat(times[:, 1], starts)])

    def sums(self) -> VoxelSums:
        """What was counted so far."""
        self._merge()
        points = self._sums[:, 0]
        means = self._sums[:, 1:5] / np.maximum(points, 1)[:, None]
        return VoxelSums(
            keys=self._keys,
            points=points.astype(np.float32),
            position=means[:, :3],
            intensity=means[:, 3].astype(np.float32),
            votes=self._sums[:, 5:].astype(np.float32),
            first=self._times[:, 0],
            last=self._times[:, 1],
        )
