"""Convolutions in bfloat16 with sums in float32."""

import pytest
import torch

from cmdfusion_ros.sparse import native
from cmdfusion_ros.sparse.conv import gather_multiply_sum
from cmdfusion_ros.sparse.cpu import FoldedConv
from cmdfusion_ros.sparse.tensor import KernelMaps
from cmdfusion_ros.sparse.workers import Workers

pytestmark = pytest.mark.skipif(
    native.kernels() is None or not native.kernels().has_half,
    reason="no compiled kernels, or a CPU without AVX512-BF16",
)


@pytest.fixture(scope="module")
def kernel_map():
    generator = torch.Generator().manual_seed(0)
    coords = torch.randint(-6, 6, (1500, 4), generator=generator, dtype=torch.int32)
    coords[:, 0] %= 2
    return KernelMaps({1: torch.unique(coords, dim=0)}).submanifold(1, 3)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("in_channels", [2, 16, 300])
@pytest.mark.parametrize("out_channels", [16, 32, 48, 64, 80, 96])
def test_sums_are_those_of_rounded_numbers(kernel_map, threads, in_channels, out_channels):
    generator = torch.Generator().manual_seed(out_channels)
    features, weight, bias, skip, skip_weight = (
        torch.randn(*shape, generator=generator)
        for shape in (
            (kernel_map.num_in, in_channels),
            (27, in_channels, out_channels),
            (out_channels,),
            (kernel_map.num_out, 9),
            (9, out_channels),
        )
    )
    rounded = features.bfloat16().float(), weight.bfloat16().float()
    expected = gather_multiply_sum(*rounded, kernel_map) + bias + skip @ skip_weight
    workers = Workers(threads, half=True)
    result = native.kernels().convolve(
        workers, FoldedConv(weight, bias), features, kernel_map, (skip, skip_weight), 0.1
    )
    workers.close()
    wanted = torch.nn.functional.leaky_relu(expected, 0.1)
    torch.testing.assert_close(result, wanted, rtol=1e-4, atol=1e-4 * in_channels**0.5)
    whole = gather_multiply_sum(features, weight, kernel_map) + bias + skip @ skip_weight
    assert (expected - whole).abs().max() > 1e-2  # so it was not computed in float32


@pytest.mark.parametrize("widths", [(3, 16), (16, 12)])
def test_widths_that_do_not_fit_stay_in_float32(kernel_map, widths):
    generator = torch.Generator().manual_seed(1)
    features = torch.randn(kernel_map.num_in, widths[0], generator=generator)
    conv = FoldedConv(torch.randn(27, *widths, generator=generator), torch.zeros(widths[1]))
    assert conv.half is None
    half, single = (
        native.kernels().convolve(Workers(1, half), conv, features, kernel_map, None, None)
        for half in (True, False)
    )
    assert torch.equal(half, single)


@pytest.mark.parametrize("count", [0, 1, 15, 16, 17, 1000])
def test_numbers_are_rounded_as_torch_rounds_them(count):
    values = torch.randn(count, generator=torch.Generator().manual_seed(count)) * 1e3
    values[: count // 3] = 1 + torch.arange(count // 3) * 2.0**-8  # ties
    assert torch.equal(native.kernels().halve(values), values.bfloat16())
