"""Votes in cubes: counted as by hand, and the same however they come in."""

import numpy as np
import pytest

from cmdfusion_ros.geometry import voxel_map
from cmdfusion_ros.geometry.voxel_map import VoxelMap, neighbour_keys, voxel_keys

SECOND = 1_000_000_000


def added(votes: VoxelMap, points, labels, weights=None, stamp=0):
    points = np.array(points, np.float64)
    weights = np.ones(len(points)) if weights is None else np.array(weights)
    intensity = np.linspace(0, 1, len(points))
    votes.add(points, intensity, np.array(labels, np.uint8), weights, stamp)


def test_points_and_votes_of_a_cube_are_summed_over_scans():
    votes = VoxelMap(0.5, 3)
    added(votes, [[0.1, 0.1, 0.1], [0.3, 0.1, 0.1], [-0.1, 0, 0]], [1, 1, 2], [0.5, 0.25, 1], 10)
    added(votes, [[0.2, 0.4, 0.1]], [0], [2.0], stamp=30)
    added(votes, [[0.2, 0.2, 0.1]], [255], stamp=50)  # a point without a vote
    sums = votes.sums()
    assert len(sums.keys) == 2 and sums.points.tolist() == [1, 4]  # the cube at x < 0 is first
    np.testing.assert_allclose(sums.position[1], [0.2, 0.2, 0.1])
    np.testing.assert_allclose(sums.votes[1], [2.0, 0.75, 0])
    assert (sums.first[1], sums.last[1]) == (10, 30)


def test_the_posterior_starts_even_and_follows_the_votes():
    votes = VoxelMap(1.0, 4)
    added(votes, [[0.5, 0.5, 0.5]] * 3 + [[5.5, 0, 0]], [2, 2, 1, 255])
    best, share = votes.sums().posterior(prior=0.5)
    assert best.tolist() == [2, 0]
    assert share.tolist() == pytest.approx([(2 + 0.5) / (3 + 4 * 0.5), 0.25])


def test_rows_are_found_by_key_and_strangers_are_told():
    votes = VoxelMap(1.0, 2)
    added(votes, [[0.5, 0.5, 0.5], [3.5, 0.5, 0.5]], [0, 1])
    keys = voxel_keys(np.array([[3.1, 0.9, 0.2], [9.0, 0, 0]]), 1.0)
    rows, known = votes.sums().rows_of(keys)
    assert known.tolist() == [True, False] and votes.sums().votes[rows[0], 1] == 1
    assert not VoxelMap(1.0, 2).sums().rows_of(keys)[1].any()


def test_merging_early_changes_nothing(monkeypatch):
    rng = np.random.default_rng(0)
    scans = [(rng.uniform(-4, 4, (200, 3)), rng.integers(0, 4, 200)) for _ in range(6)]
    whole, pieces = VoxelMap(0.7, 3), VoxelMap(0.7, 3)
    for place, (points, labels) in enumerate(scans):
        added(whole, points, labels, stamp=place)
    monkeypatch.setattr(voxel_map, "_PENDING", 100)
    for place, (points, labels) in enumerate(scans):
        added(pieces, points, labels, stamp=place)
    one, other = whole.sums(), pieces.sums()
    for name in ("keys", "points", "position", "votes", "first", "last"):
        np.testing.assert_allclose(getattr(one, name), getattr(other, name))
    assert one.points.sum() == 1200 and one.votes.sum() == sum((s[1] < 3).sum() for s in scans)


def test_a_world_too_large_is_refused():
    with pytest.raises(ValueError, match="over 105 km from the origin; .*UTM"):
        voxel_keys(np.array([[4.5e6, 0, 0]]), 0.1)
    with pytest.raises(ValueError, match="expected an edge over 0 m"):
        VoxelMap(0.0, 3)


def test_the_neighbours_of_a_cube_are_the_27_that_touch_it():
    centre = np.array([[-0.1, 0.1, 0.1]])  # beside the planes where coordinates change their sign
    steps = np.array([(x, y, z) for x in (-1, 0, 1) for y in (-1, 0, 1) for z in (-1, 0, 1)])
    expected = np.sort(voxel_keys(centre + 0.5 * steps, 0.5))
    np.testing.assert_array_equal(neighbour_keys(voxel_keys(centre, 0.5)), expected)
    assert len(neighbour_keys(np.zeros(0, np.int64))) == 0
