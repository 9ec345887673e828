"""The Triton kernels against the reference: on a GPU where there is one, else through Triton's
interpreter on the CPU (conftest.py asks for it).
"""

import numpy as np
import pytest
import torch
from builders.kernel_maps import MAPS

from cmdfusion_ros.sparse.conv import SparseConvolution, gather_multiply_sum
from cmdfusion_ros.sparse.tensor import KernelMaps
from cmdfusion_ros.sparse.voxelise import unique_voxels

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
pytest.importorskip(
    "triton", reason="triton is not installed, so its kernels cannot run, not even interpreted"
)

from cmdfusion_ros.sparse import triton_backend  # noqa: E402  it needs triton


@pytest.fixture(scope="module")
def maps():
    """About 150 voxels in two frames, crowded enough for every offset to occur: three tiles, the
    last one ragged.
    """
    generator = np.random.default_rng(0)
    coords = np.concatenate(
        [generator.integers(0, 2, (170, 1)), generator.integers(-4, 4, (170, 3))], axis=1
    )
    return KernelMaps({1: torch.from_numpy(unique_voxels(coords.T).voxel_coords).to(DEVICE)})


def random(*shape, dtype=torch.float32, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(DEVICE, dtype)


@pytest.mark.parametrize("kind", MAPS)
@pytest.mark.parametrize("channels", [(16, 16), (5, 19)])
def test_values_equal_the_reference(maps, kind, channels):
    kernel_map = MAPS[kind](maps)
    features, weight = (
        random(kernel_map.num_in, channels[0]),
        random(len(kernel_map.counts), *channels, seed=1),
    )
    torch.testing.assert_close(
        triton_backend.convolve(features, weight, kernel_map),
        gather_multiply_sum(features, weight, kernel_map),
        rtol=1e-4,
        atol=1e-4,
    )


@pytest.mark.parametrize("kind", MAPS)
def test_gradients_equal_the_reference(maps, kind):
    kernel_map = MAPS[kind](maps)
    features = random(kernel_map.num_in, 6).requires_grad_()
    weight = random(len(kernel_map.counts), 6, 18, seed=1).requires_grad_()
    along = random(kernel_map.num_out, 18, seed=2)
    ours, reference = (
        torch.autograd.grad(
            (function.apply(features, weight, kernel_map) * along).sum(), [features, weight]
        )
        for function in (triton_backend.TritonConvolution, SparseConvolution)
    )
    torch.testing.assert_close(ours, reference, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_the_reference_rounded_once(maps, dtype):
    kernel_map = maps.submanifold(1, 3)
    if dtype == torch.bfloat16 and DEVICE == "cpu":
        pytest.skip("Triton's interpreter multiplies the bits of bfloat16 as integers")
    features, weight = (
        random(kernel_map.num_in, 16, dtype=dtype),
        random(27, 16, 16, dtype=dtype, seed=1),
    )
    result = triton_backend.convolve(features, weight, kernel_map)
    assert result.dtype == dtype
    expected = gather_multiply_sum(features.float(), weight.float(), kernel_map)
    torch.testing.assert_close(result, expected.to(dtype), rtol=1e-2, atol=2e-2)


def test_bias_skip_connection_and_activation_ride_along(maps):
    kernel_map = maps.submanifold(1, 3)
    features, weight = random(kernel_map.num_in, 8), random(27, 8, 12, seed=1)
    bias, skip = random(12, seed=2), random(kernel_map.num_out, 12, seed=3)
    expected = torch.nn.functional.leaky_relu(
        gather_multiply_sum(features, weight, kernel_map) + bias + skip, 0.1
    )
    torch.testing.assert_close(
        triton_backend.convolve(features, weight, kernel_map, bias, skip, 0.1),
        expected,
        rtol=1e-4,
        atol=1e-4,
    )


def test_the_table_holds_every_pair_and_sorts_rows_by_their_neighbours(maps):
    kernel_map = maps.submanifold(1, 3)
    table = triton_backend.make_table(kernel_map)
    assert (table.inputs >= 0).sum() == len(kernel_map.in_rows)
    assert torch.equal(table.inputs[13].cpu(), torch.arange(kernel_map.num_out, dtype=torch.int32))
    assert sorted(table.rows.tolist()) == list(range(kernel_map.num_out))
    present = (table.inputs[:, table.rows.long()] >= 0).cpu()
    for tile, mask in enumerate(table.tile_masks.tolist()):
        rows = slice(tile * triton_backend.BLOCK_ROWS, (tile + 1) * triton_backend.BLOCK_ROWS)
        assert mask == sum(1 << k for k in range(27) if present[k, rows].any())


def test_no_voxels_give_no_rows():
    nothing = KernelMaps({1: torch.zeros(0, 4, dtype=torch.int32, device=DEVICE)}).submanifold(1, 3)
    features, weight = random(0, 8).requires_grad_(), random(27, 8, 4).requires_grad_()
    out = triton_backend.TritonConvolution.apply(features, weight, nothing)
    assert out.shape == (0, 4)
    out.sum().backward()
    assert not weight.grad.any()


@pytest.mark.parametrize(
    ("channels", "largest"),
    [((5, 19), (16, 32)), ((32, 32), (32, 32)), ((64, 96), (64, 128)), ((384, 256), (64, 128))],
)
def test_blocks_that_are_tried_fit_the_channels(monkeypatch, channels, largest):
    configs = triton_backend._candidates(triton_backend.MAX_BLOCK_OUT)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    tried = triton_backend._fitting(configs, {}, *channels, OFFSETS=27)
    sizes = {(config.kwargs["BLOCK_IN"], config.kwargs["BLOCK_OUT"]) for config in tried}
    assert largest in sizes and 2 <= len(tried) <= 4
    assert all(
        largest[0] // 2 <= i <= largest[0] and largest[1] // 2 <= o <= largest[1] for i, o in sizes
    )
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert len(triton_backend._fitting(configs, {}, *channels, OFFSETS=27)) == 1
