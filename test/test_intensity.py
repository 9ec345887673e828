"""Intensity as networks read it: ranks by hand, what no sensor's scale changes, and its absence."""

import numpy as np
import pytest

from cmdfusion_ros.batch import make_batch
from cmdfusion_ros.data.augment.mix import join, select
from cmdfusion_ros.data.augment.scans import without_intensity, without_intensity_rank
from cmdfusion_ros.frame import Frame
from cmdfusion_ros.geometry.voxels import VoxelGrid
from cmdfusion_ros.intensity import intensity_rank, scaled_intensity

GRID = VoxelGrid(0.5, (1, 2))


def frame_of(intensity, rank=None):
    points = np.arange(3 * len(intensity), dtype=np.float32).reshape(-1, 3)
    return Frame(points, np.array(intensity, np.float32), intensity_rank=rank)


def test_a_rank_is_the_part_that_is_darker_and_half_of_what_is_as_dark():
    ranks = intensity_rank(np.array([0.5, 0.1, 0.9, 0.5], np.float32))
    assert ranks.tolist() == [0.5, 0.125, 0.875, 0.5]
    assert ranks.dtype == np.float32


def test_no_gain_and_no_compression_changes_a_rank():
    values = np.random.default_rng(0).random(500, dtype=np.float32)
    for changed in (0.25 * values, values**2, np.sqrt(values)):
        assert intensity_rank(changed) == pytest.approx(intensity_rank(values), abs=0.005)


@pytest.mark.parametrize("value", [0.0, 0.3, 1.0])
def test_a_scan_whose_intensities_are_equal_has_none(value):
    assert not scaled_intensity(np.full(7, value, np.float32)).any()


def test_no_points_are_no_rows():
    assert scaled_intensity(np.zeros(0, np.float32)).shape == (0, 2)


def test_value_and_rank_are_brought_to_unit_size():
    scaled = scaled_intensity(np.linspace(0, 1, 1001, dtype=np.float32))
    assert scaled[:, 0].min() == pytest.approx(-1) and scaled[:, 0].max() == pytest.approx(4)
    assert scaled[:, 1].mean() == pytest.approx(0, abs=1e-3)
    assert scaled[:, 1].std() == pytest.approx(1, abs=1e-2)


def test_values_and_ranks_can_be_missing_each_by_itself():
    frame = frame_of([0.1, 0.5, 0.9])
    assert not scaled_intensity(without_intensity_rank(frame).intensity, np.full(3, 0.5))[
        :, 1
    ].any()
    both = make_batch([without_intensity(frame)], GRID).scaled_intensity
    rank_missing = make_batch([without_intensity_rank(frame)], GRID).scaled_intensity
    assert not both.any()
    assert rank_missing[:, 0].all() and not rank_missing[:, 1].any()


def test_a_part_of_a_scan_keeps_the_ranks_of_the_whole():
    whole = frame_of([0.1, 0.2, 0.3, 0.4])
    ranked = frame_of(whole.intensity, intensity_rank(whole.intensity))
    part = make_batch([select(ranked, np.array([2, 3]))], GRID).scaled_intensity
    assert part.equal(make_batch([whole], GRID).scaled_intensity[2:])


def test_points_of_another_scan_bring_the_ranks_they_had_there():
    ranked = frame_of([0.1, 0.2], np.array([0.25, 0.75], np.float32))
    dark = frame_of([0.01, 0.02])
    assert join(ranked, dark).intensity_rank.tolist() == [0.25, 0.75, 0.25, 0.75]


def test_each_scan_of_a_batch_has_ranks_of_its_own():
    bright, dark = frame_of([0.8, 0.9]), frame_of([0.1, 0.2])
    ranks = make_batch([bright, dark], GRID).scaled_intensity[:, 1]
    assert ranks[:2].equal(ranks[2:])
