"""Kernel maps in torch against those in numpy, and layers on them. They run on a GPU where there
is one, else on the CPU.
"""

import numpy as np
import pytest
import torch

from cmdfusion_ros.sparse import device_maps, neighbours, tensor, voxelise
from cmdfusion_ros.sparse.conv import StridedConv, SubmanifoldConv, TransposedConv
from cmdfusion_ros.sparse.voxelise import HIGHEST, LOWEST

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@pytest.fixture(scope="module")
def coords():
    """Crowded voxels of two frames around zero, and some at the ends of the range."""
    generator = np.random.default_rng(0)
    crowded = np.column_stack([generator.integers(0, 2, 500), generator.integers(-6, 6, (500, 3))])
    return voxelise.unique_voxels(
        np.concatenate([crowded, [LOWEST, HIGHEST, [1, *LOWEST[1:]]]]).T
    ).voxel_coords


def on_device(array):
    return torch.from_numpy(array).to(DEVICE)


def assert_same(tensors, arrays):
    for ours, wanted in zip(tensors, arrays, strict=True):
        assert ours.cpu().numpy().dtype == wanted.dtype and np.array_equal(
            ours.cpu().numpy(), wanted
        )


def test_keys_coarser_voxels_and_pairs_equal_those_of_numpy(coords):
    keys = voxelise.pack_keys(coords)
    assert_same([device_maps.pack_keys(on_device(coords))], [keys])
    assert_same(device_maps.submanifold_pairs(on_device(keys)), neighbours.submanifold_pairs(keys))
    for factor in (2, 3):
        coarser = voxelise.coarser_voxels(coords, factor)
        assert_same(device_maps.coarser_voxels(on_device(coords), factor), coarser)
        parents = coarser.point_to_voxel
        assert_same(
            device_maps.pooling_pairs(on_device(coords), on_device(parents), factor),
            neighbours.pooling_pairs(coords, parents, factor),
        )
    coarse = voxelise.coarser_voxels(coords, 2).voxel_coords
    assert_same(
        device_maps.strided_pairs(on_device(keys), on_device(coarse)),
        neighbours.strided_pairs(keys, coarse),
    )


def test_coordinates_out_of_range_are_named_as_on_the_cpu():
    with pytest.raises(ValueError, match="z must lie in -32766..32765, got 40000..40000"):
        device_maps.pack_keys(torch.tensor([[0, 0, 0, 40000]], device=DEVICE))


@pytest.mark.parametrize("num_voxels", [0, 500])
def test_layers_give_the_same_on_either_kind_of_map(coords, monkeypatch, num_voxels):
    torch.manual_seed(0)
    down = [
        SubmanifoldConv(3, 4),
        StridedConv(4, 4),
        SubmanifoldConv(4, 4, 1),
        StridedConv(4, 4, 3),
    ]
    layers = torch.nn.Sequential(*down, TransposedConv(4, 4, 3), TransposedConv(4, 2))
    given, features = (
        torch.from_numpy(coords[:num_voxels]),
        torch.randn(min(num_voxels, len(coords)), 3),
    )
    expected = layers(tensor.SparseTensor(features, given)).features
    monkeypatch.setattr(tensor, "_OnCpu", device_maps)
    result = layers.to(DEVICE)(tensor.SparseTensor(features.to(DEVICE), given.to(DEVICE))).features
    torch.testing.assert_close(result.cpu(), expected, rtol=1e-4, atol=1e-4)
