"""The sizes of a voxel grid are checked."""

import pytest

from cmdfusion_ros.geometry.voxels import VoxelGrid


def test_a_grid_keeps_what_it_is_given():
    assert VoxelGrid(0.1, (1, 2, 8)).strides == (1, 2, 8)


@pytest.mark.parametrize("voxel_size", [0, -0.1, float("nan")])
def test_a_voxel_needs_a_size(voxel_size):
    with pytest.raises(ValueError, match="voxel_size: expected more than 0 m"):
        VoxelGrid(voxel_size, (1,))


@pytest.mark.parametrize("strides", [(), (2, 4), (1, 1), (1, 4, 2), (1, 2, 3)])
def test_scales_that_do_not_nest_are_refused(strides):
    with pytest.raises(ValueError, match="strides: expected 1 first, then growing multiples"):
        VoxelGrid(0.1, strides)
