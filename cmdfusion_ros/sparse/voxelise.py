"""Points to voxels: sorted unique voxel coordinates and, for each point, the row of its voxel. numpy only."""

from itertools import pairwise
from typing import NamedTuple

import numpy as np

# Fields of a packed key, from the top: batch, x, y, z. Signed coordinates are stored with half their range added. 63 bits, so keys stay positive.
BATCH_BITS, X_BITS, Y_BITS, Z_BITS = 11, 18, 18, 16
FIELD_BITS = np.array([BATCH_BITS, X_BITS, Y_BITS, Z_BITS])
FIELD_NAMES = ("batch", "x", "y", "z")
Y_STEP = 1 << Z_BITS  # what one step along y adds to a key; one step along z adds 1
X_STEP = 1 << (Z_BITS + Y_BITS)
BATCH_STEP = 1 << (Z_BITS + Y_BITS + X_BITS)
MARGIN = 2  # cells kept free at both ends of x, y and z, so that a neighbour's key never runs into the next field
LOWEST = np.array([0] + [-(1 << (bits - 1)) + MARGIN for bits in (X_BITS, Y_BITS, Z_BITS)])
HIGHEST = np.array([(1 << BATCH_BITS) - 1] + [(1 << (bits - 1)) - 1 - MARGIN for bits in (X_BITS, Y_BITS, Z_BITS)])
BIAS = (1 << (X_BITS - 1)) * X_STEP + (1 << (Y_BITS - 1)) * Y_STEP + (1 << (Z_BITS - 1))


class Voxels(NamedTuple):
    """Voxels of a set of points.

    Attributes:
        voxel_coords: (V, 4) int32, batch, x, y, z; unique, sorted lexicographically.
        point_to_voxel: (N,) int64, row of each point's voxel.
    """

    voxel_coords: np.ndarray
    point_to_voxel: np.ndarray


def check_range(lowest, highest):
    """Raise ValueError where coordinates reach beyond what a key can hold.

    Args:
        lowest, highest: (4,) smallest and largest batch, x, y, z.
    """
    for name, low, high, allowed_low, allowed_high in zip(FIELD_NAMES, lowest, highest, LOWEST, HIGHEST, strict=True):
        if low < allowed_low or high > allowed_high:
            raise ValueError(
                f"voxel coordinates: {name} must lie in {allowed_low}..{allowed_high}, got {low}..{high}; drop far-away points or use larger voxels"
            )


def pack_keys(voxel_coords):
    """One int64 per voxel that sorts as (batch, x, y, z) does.

    Args:
        voxel_coords: (V, 4) int.

    Returns:
        (V,) int64, never negative.

    Raises:
        ValueError: a coordinate is out of range.
    """
    if len(voxel_coords) == 0:
        return np.zeros(0, np.int64)
    check_range(voxel_coords.min(axis=0), voxel_coords.max(axis=0))
    return _pack(voxel_coords)


def _pack(voxel_coords):
    batch, x, y, z = (voxel_coords[:, i].astype(np.int64) for i in range(4))
    return batch * BATCH_STEP + x * X_STEP + y * Y_STEP + z + BIAS


def unpack_keys(keys):
    """Inverse of `pack_keys`: (V,) int64 -> (V, 4) int32."""
    voxel_coords = np.empty((len(keys), 4), np.int32)
    shift = 0
    for column, bits in ((3, Z_BITS), (2, Y_BITS), (1, X_BITS)):
        voxel_coords[:, column] = ((keys >> shift) & ((1 << bits) - 1)) - (1 << (bits - 1))
        shift += bits
    voxel_coords[:, 0] = keys >> shift
    return voxel_coords


def unique_voxels(coords):
    """Sort coordinates, drop repeats, and say where each one went.

    Args:
        coords: (N, 4) int: batch, x, y, z, in any order, with repeats. N = 0 gives no voxels.

    Returns:
        Voxels.

    Raises:
        ValueError: a coordinate is out of range.
    """
    if coords.ndim != 2 or coords.shape[1] != 4:
        raise ValueError(f"coords: expected shape (N, 4), got {coords.shape}")
    if len(coords) == 0:
        return Voxels(np.zeros((0, 4), np.int32), np.zeros(0, np.int64))
    lowest, highest = coords.min(axis=0).astype(np.int64), coords.max(axis=0).astype(np.int64)
    check_range(lowest, highest)
    field_bits = [int(span).bit_length() for span in highest - lowest]
    row_bits = (len(coords) - 1).bit_length()
    if sum(field_bits) + row_bits <= 63:
        order, first = _sort_with_rows(coords, lowest, field_bits, row_bits)
    else:  # so wide a spread that key and row do not fit into one integer
        keys = _pack(coords)
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
        first = np.concatenate([[True], keys[1:] != keys[:-1]])
    point_to_voxel = np.empty(len(coords), np.int64)
    point_to_voxel[order] = np.cumsum(first) - 1
    return Voxels(coords[order[first]].astype(np.int32), point_to_voxel)


def _sort_with_rows(coords, lowest, field_bits, row_bits):
    """Order of the rows and which of them start a new voxel. np.sort of one integer that ends in the row is several times faster than any argsort."""
    key = coords[:, 0].astype(np.int64) - lowest[0]
    for column in (1, 2, 3):
        key <<= field_bits[column]
        key += coords[:, column] - lowest[column]
    key <<= row_bits
    key |= np.arange(len(coords))
    key.sort()
    order = key & ((1 << row_bits) - 1)
    key >>= row_bits
    return order, np.concatenate([[True], key[1:] != key[:-1]])


def voxelise(points, frame_index, voxel_size, strides=(1,)):
    """Voxels of points at several nested scales.

    The voxel of a point at stride s is floor(p / (voxel_size * s)), worked out at the finest scale and floor-divided from there, so scales nest exactly.

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
    cells = np.floor(points / np.asarray(voxel_size, points.dtype))  # (N, 3), still float: a far point must not wrap round
    coords = np.empty((len(points), 4), np.int32)
    if len(points):
        if not np.isfinite(cells).all():
            raise ValueError("points: expected finite coordinates, got NaN or infinity; drop those points first")
        check_range([frame_index.min(), *cells.min(axis=0)], [frame_index.max(), *cells.max(axis=0)])
    coords[:, 0] = frame_index
    coords[:, 1:] = cells
    levels = [unique_voxels(coords)]
    for finer, coarser in pairwise(strides):
        parents = unique_voxels(coarsen(levels[-1].voxel_coords, coarser // finer))
        levels.append(Voxels(parents.voxel_coords, parents.point_to_voxel[levels[-1].point_to_voxel]))
    return levels


def coarsen(voxel_coords, factor):
    """Coordinates of the voxels `factor` times as large that hold these: x, y, z floor-divided, batch kept. (V, 4) -> (V, 4), repeats left in."""
    return np.concatenate([voxel_coords[:, :1], voxel_coords[:, 1:] // np.int32(factor)], axis=1)
