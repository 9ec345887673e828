"""Points to voxels: sorted unique voxel coordinates and, for each point, the row of its voxel.
numpy only.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

# Fields of a packed key, from the top: batch, x, y, z. Signed coordinates are stored with half
# their range added. 63 bits, so keys stay positive.
BATCH_BITS, X_BITS, Y_BITS, Z_BITS = 11, 18, 18, 16
FIELD_NAMES = ("batch", "x", "y", "z")
Y_STEP = 1 << Z_BITS  # what one step along y adds to a key; one step along z adds 1
X_STEP = 1 << (Z_BITS + Y_BITS)
BATCH_STEP = 1 << (Z_BITS + Y_BITS + X_BITS)
# cells kept free at both ends of x, y and z, so that a neighbour's key never runs into the next
# field
MARGIN = 2
LOWEST = np.array([0] + [-(1 << (bits - 1)) + MARGIN for bits in (X_BITS, Y_BITS, Z_BITS)])
HIGHEST = np.array(
    [(1 << BATCH_BITS) - 1] + [(1 << (bits - 1)) - 1 - MARGIN for bits in (X_BITS, Y_BITS, Z_BITS)]
)
BIAS = (1 << (X_BITS - 1)) * X_STEP + (1 << (Y_BITS - 1)) * Y_STEP + (1 << (Z_BITS - 1))


class Voxels(NamedTuple):
    """Voxels of a set of points.

    Attributes:
        voxel_coords: (V, 4) int32, batch, x, y, z; unique, sorted lexicographically.
        point_to_voxel: (N,) int64, row of each point's voxel.
    """

    voxel_coords: np.ndarray
    point_to_voxel: np.ndarray


def check_range(field: int, lowest: int, highest: int) -> None:
    """ValueError where coordinates reach beyond what a key can hold; field 0 is the batch, 1 to
    3 are x, y, z.
    """
    if lowest < LOWEST[field] or highest > HIGHEST[field]:
        raise ValueError(
            f"voxel coordinates: {FIELD_NAMES[field]} must lie in "
            f"{LOWEST[field]}..{HIGHEST[field]}, got {lowest}..{highest}; "
            "drop far-away points or use larger voxels"
        )


def within_reach(points: np.ndarray, voxel_size: float) -> np.ndarray:
    """(N,) bool: which of (N, 3) float points (metres) lie in a voxel that a key can hold; False
    for NaN and infinity. With voxels of 0.1 m that is 13.1 km along x and y and 3.2 km along z.
    """
    size = np.asarray(voxel_size, points.dtype)
    inside = np.ones(len(points), bool)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        # most clouds lie well inside: three comparisons of the extremes say so
        extremes = np.abs(points).max(0, initial=0) / size
        if (extremes < HIGHEST[1:] - 1).all():
            return inside
        for axis in range(3):
            cells = np.floor(points[:, axis] / size)
            inside &= (cells >= LOWEST[axis + 1]) & (cells <= HIGHEST[axis + 1])
    return inside


def pack_keys(voxel_coords: np.ndarray) -> np.ndarray:
    """One int64 per voxel that sorts as (batch, x, y, z) does.

    Args:
        voxel_coords: (V, 4) int.

    Returns:
        (V,) int64, never negative.

    Raises:
        ValueError: a coordinate is out of range.
    """
    keys = np.full(len(voxel_coords), BIAS)
    for field, step in enumerate((BATCH_STEP, X_STEP, Y_STEP, 1)):
        column = voxel_coords[:, field].astype(np.int64)
        if len(column):
            check_range(field, column.min(), column.max())
        keys += column * step
    return keys


def unique_voxels(columns: Sequence[np.ndarray]) -> Voxels:
    """Sort coordinates, drop repeats, and say where each one went.

    A column at a time: numpy is ten times as fast as along the rows of an (N, 4) array.

    Args:
        columns: four (N,) int: batch, x, y, z, in any order, with repeats. N = 0 gives no voxels.

    Returns:
        Voxels.

    Raises:
        ValueError: there are not four columns, or a coordinate is out of range.
    """
    if len(columns) != 4:
        raise ValueError(f"columns: expected four, batch, x, y, z, got {len(columns)}")
    columns = [np.ascontiguousarray(column) for column in columns]
    num_rows = len(columns[0])
    if num_rows == 0:
        return Voxels(np.zeros((0, 4), np.int32), np.zeros(0, np.int64))
    lowest, highest = (
        [int(column.min()) for column in columns],
        [int(column.max()) for column in columns],
    )
    for field in range(4):
        check_range(field, lowest[field], highest[field])
    field_bits = [(high - low).bit_length() for low, high in zip(lowest, highest, strict=True)]
    row_bits = (num_rows - 1).bit_length()
    keys = np.zeros(num_rows, np.int64)
    for column, low, bits in zip(columns, lowest, field_bits, strict=True):
        keys <<= bits
        keys += column
        keys -= low
    # np.sort of one integer that ends in the row is several times as fast as any argsort
    if sum(field_bits) + row_bits <= 63:
        keys <<= row_bits
        keys |= np.arange(num_rows)
        keys.sort()
        order = keys & ((1 << row_bits) - 1)
        keys >>= row_bits
    else:  # so wide a spread that key and row do not fit into one integer
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
    first = np.empty(num_rows, bool)
    first[0] = True
    np.not_equal(keys[1:], keys[:-1], out=first[1:])
    point_to_voxel = np.empty(num_rows, np.int64)
    point_to_voxel[order] = np.cumsum(first) - 1
    keys = keys[first]
    voxel_coords = np.empty((len(keys), 4), np.int32)
    for number in (3, 2, 1, 0):
        voxel_coords[:, number] = (keys & ((1 << field_bits[number]) - 1)) + lowest[number]
        keys >>= field_bits[number]
    return Voxels(voxel_coords, point_to_voxel)


def voxelise(
    points: np.ndarray, frame_index: np.ndarray, voxel_size: float, strides: Sequence[int] = (1,)
) -> list[Voxels]:
    """Voxels of points at several nested scales.

    The voxel of a point at stride s is floor(p / (voxel_size * s)), worked out at the finest scale
    and floor-divided from there, so scales nest exactly.

    Args:
        points: (N, 3) float, metres, all finite.
        frame_index: (N,) int, which frame of the batch each point belongs to.
        voxel_size: edge of the finest voxel, metres.
        strides: ascending, first 1, each a multiple of the one before.

    Returns:
        [Voxels], one a stride.

    Raises:
        ValueError: a point is not finite or too far away.
    """
    columns = [np.ascontiguousarray(frame_index, np.int32)]
    for axis, name in enumerate("xyz"):
        # still float: a far point must not wrap round
        cells = np.floor(points[:, axis] / np.asarray(voxel_size, points.dtype))
        if len(cells):
            low, high = cells.min(), cells.max()
            if not (np.isfinite(low) and np.isfinite(high)):
                raise ValueError(
                    f"points: expected finite coordinates, got NaN or infinity in {name}; drop "
                    "those points first"
                )
            check_range(axis + 1, low, high)
        columns.append(cells.astype(np.int32))
    levels = [unique_voxels(columns)]
    for finer, coarser in pairwise(strides):
        parents = coarser_voxels(levels[-1].voxel_coords, coarser // finer)
        levels.append(
            Voxels(parents.voxel_coords, parents.point_to_voxel[levels[-1].point_to_voxel])
        )
    return levels


def coarser_voxels(voxel_coords: np.ndarray, factor: int) -> Voxels:
    """Voxels `factor` times as large that hold at least one of these.

    Args:
        voxel_coords: (V, 4) int32.
        factor: int, at least 1.

    Returns:
        Voxels, whose `point_to_voxel` (V,) gives for each finer voxel the row of the coarser one
        that holds it.
    """
    columns = list(voxel_coords.T)
    shift = factor.bit_length() - 1
    for axis in (1, 2, 3):  # a shift is a floor division, and far faster
        columns[axis] = (
            columns[axis] >> shift if factor == 1 << shift else columns[axis] // np.int32(factor)
        )
    return unique_voxels(columns)
