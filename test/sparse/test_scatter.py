"""Scatter, gather and interpolation between points and voxels."""

import numpy as np
import pytest
import torch

from cmdfusion_ros.sparse.scatter import (
    TrilinearMap,
    devoxelise_nearest,
    scatter_max,
    scatter_mean,
    scatter_sum,
)
from cmdfusion_ros.sparse.voxelise import voxelise

VALUES = torch.tensor([[1.0, -5.0], [3.0, -1.0], [10.0, 4.0]])
INDEX = torch.tensor([2, 2, 0])


def test_sum_mean_and_maximum_by_hand():
    assert scatter_sum(VALUES, INDEX, 3).tolist() == [[10, 4], [0, 0], [4, -6]]
    assert scatter_mean(VALUES, INDEX, 3).tolist() == [[10, 4], [0, 0], [2, -3]]
    assert scatter_max(VALUES, INDEX, 3).tolist() == [[10, 4], [0, 0], [3, -1]]
    assert devoxelise_nearest(VALUES, INDEX).tolist() == [[10, 4], [10, 4], [1, -5]]


def test_gradients_equal_finite_differences():
    values = torch.randn(
        6, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    ).requires_grad_()
    index = torch.tensor([0, 3, 3, 1, 0, 3])
    for operation in (scatter_sum, scatter_mean, scatter_max):
        assert torch.autograd.gradcheck(
            lambda x, operation=operation: operation(x, index, 5), values
        )
    assert torch.autograd.gradcheck(lambda x: devoxelise_nearest(x, index), values)


def test_no_rows_give_zeros():
    nothing, nowhere = torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64)
    for operation in (scatter_sum, scatter_mean, scatter_max):
        assert operation(nothing, nowhere, 2).tolist() == [[0, 0, 0], [0, 0, 0]]


def full_grid():
    axis = np.arange(-3, 3)
    cells = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3)
    (voxels,) = voxelise(cells + 0.5, np.zeros(len(cells), np.int64), 1.0)
    return torch.from_numpy(voxels.voxel_coords)


def test_trilinear_interpolation_reproduces_a_linear_function_where_all_voxels_are_there():
    coords = full_grid()
    linear = (coords[:, 1:].double() + 0.5) @ torch.tensor(
        [[1.0], [-2.0], [0.5]], dtype=torch.float64
    ) + 3
    points = (
        torch.rand(200, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 5
        - 2.5
    )
    values = TrilinearMap(points, torch.zeros(200, dtype=torch.int64), coords).devoxelise(linear)
    torch.testing.assert_close(
        values, points @ torch.tensor([[1.0], [-2.0], [0.5]], dtype=torch.float64) + 3
    )


def test_a_lone_voxel_gives_all_its_points_its_features():
    coords = torch.tensor([[0, 0, 0, 0], [1, 0, 0, 0]], dtype=torch.int32)
    features = torch.tensor([[7.0], [9.0]])
    points, frames = (
        torch.tensor([[0.1, 0.9, 0.5], [0.99, 0.0, 0.3], [5.0, 5.0, 5.0]]),
        torch.tensor([0, 1, 0]),
    )
    torch.testing.assert_close(
        TrilinearMap(points, frames, coords).devoxelise(features),
        torch.tensor([[7.0], [9.0], [0.0]]),
    )


def test_trilinear_gradients_equal_finite_differences():
    coords = full_grid()[::3].contiguous()
    points = torch.rand(5, 3, generator=torch.Generator().manual_seed(2)) * 4 - 2
    interpolation = TrilinearMap(points.double(), torch.zeros(5, dtype=torch.int64), coords)
    assert torch.autograd.gradcheck(
        interpolation.devoxelise,
        torch.randn(len(coords), 1, dtype=torch.float64, requires_grad=True),
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_sums_and_means_of_many_rows_are_true_in_16_bits(dtype):
    values, index = torch.full((5000, 2), 3.0, dtype=dtype), torch.zeros(5000, dtype=torch.int64)
    assert scatter_sum(values, index, 1).tolist() == [[torch.tensor(15000.0).to(dtype).item()] * 2]
    assert scatter_mean(values, index, 2).tolist() == [[3.0, 3.0], [0.0, 0.0]]
