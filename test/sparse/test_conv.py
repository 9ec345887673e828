"""Sparse convolutions against dense ones, batches against single inputs, gradients against
finite differences.
"""

import threading

import numpy as np
import pytest
import torch

from cmdfusion_ros.sparse.conv import StridedConv, SubmanifoldConv, TransposedConv
from cmdfusion_ros.sparse.tensor import KernelMaps, SparseTensor
from cmdfusion_ros.sparse.voxelise import unique_voxels

SIZE = 8  # cells along each side of the dense grid; sparse coordinates run over -4..3


def random_tensor(channels, num_frames=1, seed=0, density=0.3, dtype=torch.float64):
    """Voxels of a half-empty grid that straddles zero, with random features that want gradients."""
    generator = np.random.default_rng(seed)
    occupied = np.argwhere(generator.random((num_frames, SIZE, SIZE, SIZE)) < density)
    coords = unique_voxels((occupied - np.array([0, 4, 4, 4])).T).voxel_coords
    features = (
        torch.from_numpy(generator.normal(size=(len(coords), channels))).to(dtype).requires_grad_()
    )
    return SparseTensor(features, torch.from_numpy(coords))


def dense_of(tensor, size):
    """(B, C, X, Y, Z) of a sparse tensor, zero where there is no voxel; the grid's corner is at
    -size / 2.
    """
    batch, x, y, z = (
        tensor.voxel_coords.long() + torch.tensor([0, size // 2, size // 2, size // 2])
    ).T
    grid = tensor.features.new_zeros(
        int(batch.max()) + 1, size, size, size, tensor.features.shape[1]
    )
    return grid.index_put((batch, x, y, z), tensor.features).permute(0, 4, 1, 2, 3)


def at_voxels(grid, voxel_coords):
    """(V, C): the values of a dense grid at the voxels."""
    half = grid.shape[2] // 2
    batch, x, y, z = (voxel_coords.long() + torch.tensor([0, half, half, half])).T
    return grid.permute(0, 2, 3, 4, 1)[batch, x, y, z]


def cube(conv):
    """The weight as (k, k, k, C_in, C_out)."""
    k = conv.kernel_size
    return conv.weight.reshape(k, k, k, conv.in_channels, conv.out_channels)


def dense_submanifold(conv, tensor):
    grid = torch.nn.functional.conv3d(
        dense_of(tensor, SIZE),
        cube(conv).permute(4, 3, 0, 1, 2),
        conv.bias,
        padding=conv.kernel_size // 2,
    )
    return at_voxels(grid, tensor.voxel_coords)


def dense_strided(conv, tensor):
    coarse = tensor.maps.strided(tensor.stride, 2, 2) and tensor.maps.voxel_coords(2)
    padding = 1 if conv.kernel_size == 3 else 0
    grid = torch.nn.functional.conv3d(
        dense_of(tensor, SIZE),
        cube(conv).permute(4, 3, 0, 1, 2),
        conv.bias,
        stride=2,
        padding=padding,
    )
    return at_voxels(grid, coarse)


def dense_transposed(conv, tensor):
    weight = cube(conv).permute(3, 4, 0, 1, 2)
    # padding and output_padding that make the output exactly twice as large
    extra = 1 if conv.kernel_size == 3 else 0
    grid = torch.nn.functional.conv_transpose3d(
        dense_of(tensor, SIZE // 2),
        weight,
        conv.bias,
        stride=2,
        padding=extra,
        output_padding=extra,
    )
    return at_voxels(grid, tensor.maps.voxel_coords(1))


def coarse_tensor(channels, num_frames):
    """A tensor of stride 2 whose maps know the voxels of stride 1."""
    fine = random_tensor(1, num_frames)
    fine.maps.coarsen(1, 2)
    coords = fine.maps.voxel_coords(2)
    features = torch.randn(
        len(coords), channels, dtype=torch.float64, generator=torch.Generator().manual_seed(3)
    ).requires_grad_()
    return SparseTensor(features, coords, 2, fine.maps)


@pytest.mark.parametrize("num_frames", [1, 2])
@pytest.mark.parametrize(
    ("make_conv", "kernel_size", "dense"),
    [
        (SubmanifoldConv, 1, dense_submanifold),
        (SubmanifoldConv, 3, dense_submanifold),
        (StridedConv, 2, dense_strided),
        (StridedConv, 3, dense_strided),
        (TransposedConv, 2, dense_transposed),
        (TransposedConv, 3, dense_transposed),
    ],
)
def test_values_and_gradients_equal_those_of_a_dense_convolution(
    make_conv, kernel_size, dense, num_frames
):
    torch.manual_seed(1)
    conv = make_conv(3, 5, kernel_size, bias=True).double()
    torch.nn.init.normal_(conv.bias)
    tensor = (
        coarse_tensor(3, num_frames)
        if make_conv is TransposedConv
        else random_tensor(3, num_frames)
    )
    sparse_out, dense_out = conv(tensor).features, dense(conv, tensor)
    torch.testing.assert_close(sparse_out, dense_out)
    along = torch.randn_like(dense_out)
    wanted = [tensor.features, conv.weight, conv.bias]
    ours, theirs = (
        torch.autograd.grad((out * along).sum(), wanted) for out in (sparse_out, dense_out)
    )
    torch.testing.assert_close(ours, theirs)


def test_gradients_equal_finite_differences():
    tensor = random_tensor(2, density=0.05)
    conv = SubmanifoldConv(2, 2).double()
    assert torch.autograd.gradcheck(
        lambda features, weight: (
            torch.func.functional_call(
                conv, {"weight": weight}, tensor.with_features(features)
            ).features
        ),
        (tensor.features, conv.weight.detach().clone().requires_grad_()),
    )


def network(tensor):
    """One of each, down and up again."""
    torch.manual_seed(5)
    layers = [
        SubmanifoldConv(3, 4),
        StridedConv(4, 4),
        SubmanifoldConv(4, 4),
        StridedConv(4, 4, 3),
        TransposedConv(4, 4, 3),
        TransposedConv(4, 2),
    ]
    for layer in layers:
        tensor = layer.double()(tensor)
    return tensor


def test_a_batch_of_two_is_two_batches_of_one():
    both = random_tensor(3, num_frames=2)
    out = network(both)
    assert out.stride == 1
    for frame in (0, 1):
        mine = both.voxel_coords[:, 0] == frame
        coords = both.voxel_coords[mine] * torch.tensor([0, 1, 1, 1], dtype=torch.int32)
        alone = network(SparseTensor(both.features[mine], coords))
        torch.testing.assert_close(alone.features, out.features[mine])


def test_results_repeat_bit_by_bit():
    def run():
        tensor = random_tensor(3, seed=7, dtype=torch.float32)
        conv = SubmanifoldConv(3, 4)
        torch.nn.init.constant_(conv.weight, 0.1)
        out = conv(tensor).features
        return out, *torch.autograd.grad(out.square().sum(), [tensor.features, conv.weight])

    assert all(torch.equal(one, other) for one, other in zip(run(), run(), strict=True))


def test_no_voxels_give_no_voxels():
    empty = SparseTensor(
        torch.zeros(0, 3, requires_grad=True), torch.zeros(0, 4, dtype=torch.int32)
    )
    out = TransposedConv(4, 2)(StridedConv(4, 4)(SubmanifoldConv(3, 4)(empty)))
    assert out.features.shape == (0, 2)
    out.features.sum().backward()


def test_the_map_of_a_level_is_made_once():
    tensor = random_tensor(3)
    assert tensor.maps.submanifold(1, 3) is tensor.with_features(
        tensor.features * 2
    ).maps.submanifold(1, 3)
    assert tensor.maps.strided(1, 2, 2).transposed.transposed is tensor.maps.strided(1, 2, 2)


def test_the_first_outputs_keep_the_variance_of_the_input():
    generator = np.random.default_rng(0)
    # about 6 neighbours each
    coords = unique_voxels(
        [np.zeros(3000, int), *generator.integers(0, 24, (3, 3000))]
    ).voxel_coords
    tensor = SparseTensor(
        torch.randn(len(coords), 64, generator=torch.Generator().manual_seed(0)),
        torch.from_numpy(coords),
    )
    torch.manual_seed(0)
    with torch.no_grad():
        variance = SubmanifoldConv(64, 64)(tensor).features.var()
    assert 1.3 < variance < 3  # Kaiming: twice the input's, of which a ReLU leaves half


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: SubmanifoldConv(3, 4)(random_tensor(5)),
            r"SubmanifoldConv: expected 3 channels, got 5",
        ),
        (
            lambda: SubmanifoldConv(3, 4, kernel_size=5),
            r"kernel_size: expected one of \[1, 3\] for a submanifold convolution, got 5",
        ),
        (
            lambda: TransposedConv(3, 4)(random_tensor(3)),
            r"expected a tensor that came down from stride 0.5",
        ),
        (
            lambda: SparseTensor(torch.zeros(3, 1), torch.zeros(2, 4, dtype=torch.int32)),
            r"expected features \(V, C\) and voxel_coords \(V, 4\), got \(3, 1\)",
        ),
        (
            lambda: SparseTensor(torch.zeros(2, 1), torch.zeros(2, 4, dtype=torch.int32)),
            r"sorted by \(batch, x, y, z\) without repeats",
        ),
        (
            lambda: KernelMaps(
                {
                    1: torch.zeros(1, 4, dtype=torch.int32),
                    2: torch.tensor([[0, 5, 0, 0]], dtype=torch.int32),
                }
            ).coarsen(1, 2),
            r"voxels of stride 2: expected exactly those that hold voxels of stride 1",
        ),
    ],
)
def test_wrong_input_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_threads_that_ask_at_once_get_the_same_maps():
    maps, found = random_tensor(1, seed=4).maps, []
    started = threading.Barrier(4, timeout=10)

    def ask():
        started.wait()
        found.append(
            (
                maps.strided(1, 2, 2),
                maps.submanifold(1, 3),
                maps.coarsen(2, 2),
                maps.submanifold(4, 3),
            )
        )

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4 and all(
        one is other for answers in found for one, other in zip(answers, found[0], strict=True)
    )
