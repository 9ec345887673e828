"""Voxelisation and kernel maps, by hand and against slow references."""

import numpy as np
import pytest

from cmdfusion_ros.sparse import neighbours
from cmdfusion_ros.sparse.voxelise import (
    HIGHEST,
    LOWEST,
    coarser_voxels,
    pack_keys,
    unique_voxels,
    voxelise,
)


def test_voxels_worked_out_by_hand():
    points = np.array(
        [[0.05, 0.0, 0.0], [-0.01, 0.0, 0.0], [0.09, 0.01, 0.02], [0.31, 0.0, -0.25]], np.float32
    )
    fine, coarse = voxelise(points, np.zeros(4, np.int64), 0.1, (1, 2))
    assert fine.voxel_coords.tolist() == [[0, -1, 0, 0], [0, 0, 0, 0], [0, 3, 0, -3]]
    assert fine.point_to_voxel.tolist() == [1, 0, 1, 2]
    assert coarse.voxel_coords.tolist() == [[0, -1, 0, 0], [0, 0, 0, 0], [0, 1, 0, -2]]
    assert coarse.point_to_voxel.tolist() == [1, 0, 1, 2]


# keys that fit beside the row in 63 bits, and keys that do not
@pytest.mark.parametrize("spread", [3, 100_000])
def test_unique_voxels_equals_numpy_unique(spread):
    generator = np.random.default_rng(0)
    coords = generator.integers(-spread, spread, (5000, 4)) // np.array([1, 1, 1, 4])
    coords[:, 0] = generator.integers(0, 5, 5000)
    voxels = unique_voxels(coords.T)
    expected, inverse = np.unique(coords, axis=0, return_inverse=True)
    assert np.array_equal(voxels.voxel_coords, expected) and voxels.voxel_coords.dtype == np.int32
    assert (
        np.array_equal(voxels.point_to_voxel, inverse.reshape(-1))
        and voxels.point_to_voxel.dtype == np.int64
    )


def test_keys_sort_as_coordinates_do():
    corners = np.array(
        [LOWEST, [0, 0, 0, -1], [0, 0, 0, 0], [0, 0, 1, LOWEST[3]], [0, 1, -1, 0], HIGHEST],
        np.int32,
    )
    keys = pack_keys(corners)
    assert (np.diff(keys) > 0).all() and (keys >= 0).all()


def test_scales_nest_below_zero_too():
    generator = np.random.default_rng(1)
    points = generator.normal(scale=20, size=(2000, 3)).astype(np.float32)
    for level, stride in zip(
        voxelise(points, np.zeros(2000, np.int64), 0.2, (1, 2, 4, 8)), (1, 2, 4, 8), strict=True
    ):
        cells = np.floor(np.floor(points / np.float32(0.2)) / stride)
        assert np.array_equal(level.voxel_coords[level.point_to_voxel][:, 1:], cells)


def test_shuffled_points_lie_in_the_same_voxels():
    generator = np.random.default_rng(2)
    points, frames, shuffle = (
        generator.normal(size=(500, 3)),
        np.arange(500) % 3,
        generator.permutation(500),
    )
    (one,), (other,) = (
        voxelise(points, frames, 0.3),
        voxelise(points[shuffle], frames[shuffle], 0.3),
    )
    assert np.array_equal(one.voxel_coords, other.voxel_coords)
    assert np.array_equal(one.point_to_voxel[shuffle], other.point_to_voxel)


def test_no_points_have_no_voxels():
    for level in voxelise(np.zeros((0, 3), np.float32), np.zeros(0, np.int64), 0.1, (1, 2)):
        assert level.voxel_coords.shape == (0, 4) and level.point_to_voxel.shape == (0,)


@pytest.mark.parametrize(
    ("points", "message"),
    [
        ([[np.nan, 0, 0]], "expected finite coordinates"),
        ([[1e30, 0, 0]], r"x must lie in -131070..131069, got"),
        (
            [[0, 0, -4000]],
            r"z must lie in -32766..32765, got .*; drop far-away points or use larger voxels",
        ),
    ],
)
def test_points_without_a_voxel_are_an_error(points, message):
    with pytest.raises(ValueError, match=message):
        voxelise(np.array(points, np.float32), np.zeros(1, np.int64), 0.1)


def random_voxels(seed=0, extent=6, count=300):
    """Crowded voxels of two frames around zero, and a few at the ends of the range."""
    generator = np.random.default_rng(seed)
    coords = np.column_stack(
        [generator.integers(0, 2, count), generator.integers(-extent, extent, (count, 3))]
    )
    return unique_voxels(
        np.concatenate([coords, [LOWEST, HIGHEST, [0, *HIGHEST[1:]], [1, *LOWEST[1:]]]]).T
    ).voxel_coords


def slow_pairs(in_coords, out_coords, offsets, stride):
    """Set of (number, in row, out row) by looking each neighbour up in a dict."""
    row_of = {tuple(coord): row for row, coord in enumerate(in_coords.tolist())}
    found = set()
    for out_row, (batch, x, y, z) in enumerate(out_coords.tolist()):
        for number, (dx, dy, dz) in enumerate(offsets):
            in_row = row_of.get((batch, x * stride + dx, y * stride + dy, z * stride + dz))
            if in_row is not None:
                found.add((number, in_row, out_row))
    return found


def cells(low, high):
    span = range(low, high + 1)
    return [(dx, dy, dz) for dx in span for dy in span for dz in span]


def pair_set(pairs):
    numbers = np.repeat(np.arange(len(pairs.counts)), pairs.counts)
    assert len(numbers) == len(pairs.in_rows) == len(pairs.out_rows)
    return set(zip(numbers.tolist(), pairs.in_rows.tolist(), pairs.out_rows.tolist(), strict=True))


def test_submanifold_pairs_equal_a_slow_search():
    coords = random_voxels()
    pairs = neighbours.submanifold_pairs(pack_keys(coords))
    assert pair_set(pairs) == slow_pairs(coords, coords, cells(-1, 1), 1)
    for group in np.split(np.arange(len(pairs.in_rows)), np.cumsum(pairs.counts)[:-1]):
        assert (np.diff(pairs.in_rows[group]) > 0).all() and (
            np.diff(pairs.out_rows[group]) > 0
        ).all()


@pytest.mark.parametrize("factor", [2, 3])
def test_pooling_pairs_equal_a_slow_search(factor):
    coords = random_voxels(1)
    coarser = coarser_voxels(coords, factor)
    pairs = neighbours.pooling_pairs(coords, coarser.point_to_voxel, factor)
    assert pair_set(pairs) == slow_pairs(coords, coarser.voxel_coords, cells(0, factor - 1), factor)


def test_strided_pairs_equal_a_slow_search():
    coords = random_voxels(2)
    coarser = coarser_voxels(coords, 2)
    pairs = neighbours.strided_pairs(pack_keys(coords), coarser.voxel_coords)
    assert pair_set(pairs) == slow_pairs(coords, coarser.voxel_coords, cells(-1, 1), 2)


def test_neighbours_of_a_row_of_three_by_hand():
    coords = np.array([[0, 0, 0, 0], [0, 0, 0, 1], [0, 0, 0, 2]], np.int32)
    pairs = neighbours.submanifold_pairs(pack_keys(coords))
    assert pair_set(pairs) == {
        (12, 0, 1),
        (12, 1, 2),
        (13, 0, 0),
        (13, 1, 1),
        (13, 2, 2),
        (14, 1, 0),
        (14, 2, 1),
    }
