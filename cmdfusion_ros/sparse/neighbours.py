"""Kernel maps: which input voxel meets which output voxel under which offset of the kernel. numpy
only.

Offsets are numbered x-major. Size 3: (dx, dy, dz) in {-1, 0, 1}, number (dx + 1) * 9 + (dy + 1) * 3
+ (dz + 1). Size 2: in {0, 1}, number dx * 4 + dy * 2 + dz. Output voxel o meets input voxel i under
offset d when i = o * stride + d.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from cmdfusion_ros.sparse.voxelise import X_STEP, Y_STEP, pack_keys

PAST_THE_END = np.iinfo(np.int64).max  # no key is as large


class Pairs(NamedTuple):
    """The pairs of one kernel, grouped by offset.

    Attributes:
        in_rows, out_rows: (P,) int32. Within one offset both ascend, and no row comes twice (so a
            scatter of one offset never collides).
        counts: (K,) int64, pairs of each offset.
    """

    in_rows: np.ndarray
    out_rows: np.ndarray
    counts: np.ndarray


def _join(groups: Sequence[tuple[np.ndarray, np.ndarray]]) -> Pairs:
    """[(in_rows, out_rows)] by offset -> Pairs."""
    in_rows = np.concatenate([group[0] for group in groups]).astype(np.int32, copy=False)
    out_rows = np.concatenate([group[1] for group in groups]).astype(np.int32, copy=False)
    return Pairs(in_rows, out_rows, np.array([len(group[0]) for group in groups], np.int64))


def submanifold_pairs(keys: np.ndarray) -> Pairs:
    """Pairs of a submanifold 3x3x3 kernel: output voxels are the input voxels.

    z is the fastest field of a key, so the three dz neighbours of one (dx, dy) column lie side by
    side: one binary search finds them all. Four columns are searched; the rest follows by symmetry
    (i meets o under d exactly when o meets i under -d).

    Args:
        keys: (V,) int64, packed, ascending, unique.

    Returns:
        Pairs, K = 27.
    """
    # reads just past the last row must miss
    padded = np.concatenate([keys, np.full(3, PAST_THE_END)])
    # o whose upper neighbour is the next row
    above = np.flatnonzero(padded[1 : len(keys) + 1] == keys + 1).astype(np.int32)
    halves = [(above + np.int32(1), above)]
    for step in (Y_STEP, X_STEP - Y_STEP, X_STEP, X_STEP + Y_STEP):
        wanted = keys + (step - 1)
        position = np.searchsorted(keys, wanted)
        for _ in range(3):
            found = padded[position] == wanted
            outputs = np.flatnonzero(found).astype(np.int32)
            halves.append((position[outputs].astype(np.int32), outputs))
            position += found
            wanted += 1
    return join_with_mirrors(len(keys), halves)


def join_with_mirrors(num_voxels: int, halves: Sequence[tuple[np.ndarray, np.ndarray]]) -> Pairs:
    """Pairs of a submanifold 3x3x3 kernel from those of the offsets 14 to 26: [(in_rows,
    out_rows)].
    """
    rows = np.arange(num_voxels, dtype=np.int32)
    return _join(
        [(outputs, inputs) for inputs, outputs in reversed(halves)] + [(rows, rows), *halves]
    )


def pooling_pairs(voxel_coords: np.ndarray, parents: np.ndarray, factor: int) -> Pairs:
    """Pairs of a strided kernel as large as its stride: every input voxel lies in exactly one
    output voxel.

    Args:
        voxel_coords: (V, 4) int32, the finer voxels.
        parents: (V,) their rows in the coarser scale.
        factor: the stride and the kernel size.

    Returns:
        Pairs, K = factor ** 3.
    """
    numbers = np.zeros(len(voxel_coords), np.int32)
    for axis in (1, 2, 3):
        numbers *= factor
        # floor-modulo: right below zero too
        numbers += np.ascontiguousarray(voxel_coords[:, axis]) % np.int32(factor)
    order = np.argsort(numbers.astype(np.uint16), kind="stable")
    return Pairs(
        order.astype(np.int32),
        parents[order].astype(np.int32),
        np.bincount(numbers, minlength=factor**3),
    )


def strided_pairs(keys: np.ndarray, coarse_coords: np.ndarray) -> Pairs:
    """Pairs of a 3x3x3 kernel with stride 2, centred: i = 2 o + d, d in {-1, 0, 1}.

    Args:
        keys: (V,) int64, of the input voxels, ascending, unique.
        coarse_coords: (V', 4) int32, the output voxels.

    Returns:
        Pairs, K = 27.
    """
    centres = pack_keys(coarse_coords * np.array([1, 2, 2, 2], np.int32))
    padded = np.concatenate([keys, np.full(3, PAST_THE_END)])
    groups = []
    for dx in (-1, 0, 1):
        for dy in (-1, 0, 1):
            wanted = centres + (dx * X_STEP + dy * Y_STEP - 1)
            position = np.searchsorted(keys, wanted)
            for _ in range(3):
                found = padded[position] == wanted
                outputs = np.flatnonzero(found)
                groups.append((position[outputs], outputs))
                position += found
                wanted += 1
    return _join(groups)
