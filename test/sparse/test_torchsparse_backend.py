"""The torchsparse backend against the reference: on what is installed, and on stand-ins that
take the arguments of 2.0 and 2.1 as their sources have them.
"""

import sys
import types

import numpy as np
import pytest
import torch
from builders.kernel_maps import MAPS

from cmdfusion_ros.sparse import torchsparse_backend
from cmdfusion_ros.sparse.conv import SparseConvolution
from cmdfusion_ros.sparse.tensor import KernelMaps
from cmdfusion_ros.sparse.voxelise import unique_voxels


def _convolve(features, weight, pairs, counts, sizes):
    """As both versions do it, but with autograd."""
    assert (
        pairs.dtype == counts.dtype == torch.int32
        and pairs.shape == (int(counts.sum()), 2)
        and len(counts) == len(weight)
    )
    assert (
        counts.device.type == "cpu"
        and len(features) == sizes[0]
        and features.dtype == weight.dtype != torch.bfloat16
    )
    out, start = features.new_zeros(sizes[1], weight.shape[2]), 0
    for k, count in enumerate(counts.tolist()):
        rows = pairs[start : start + count].long()
        start += count
        out = out.index_add(0, rows[:, 1], features[rows[:, 0]] @ weight[k])
    return out


class _Of20:
    @staticmethod
    def forward():
        pass

    @staticmethod
    def apply(
        input,
        weight,
        nbmaps,
        nbsizes,
        buffer,
        sizes,
        input_mask,
        output_mask,
        epsilon,
        mm_thresh,
        conv_mode,
        transposed=False,
    ):
        assert (epsilon, mm_thresh, conv_mode, transposed) == (0.0, 0, 0, False)
        assert len(buffer) == len(input_mask) == len(output_mask) == 0
        return _convolve(input, weight, nbmaps, nbsizes, sizes)


class _Of21:
    @staticmethod
    def apply(input, weight, kmap, config, transposed=False):
        assert (
            config == {"epsilon": 0.0, "mm_thresh": 0}
            and not transposed
            and len(kmap["input_mask"]) == len(kmap["output_mask"]) == 0
        )
        return _convolve(input, weight, kmap["nbmaps"], kmap["nbsizes"], kmap["sizes"])


@pytest.fixture(params=["2.0", "2.1", "installed"])
def function(request, monkeypatch):
    """`convolution_function` of one version."""
    if request.param == "installed":
        try:
            return torchsparse_backend.convolution_function()
        except Exception as error:
            pytest.skip(f"torchsparse does not run here: {type(error).__name__}: {error}")
    names = [
        "torchsparse",
        "torchsparse.nn",
        "torchsparse.nn.functional",
        "torchsparse.nn.functional.conv",
    ]
    if request.param == "2.1":
        names += [
            "torchsparse.nn.functional.conv.func",
            "torchsparse.nn.functional.conv.func.gather_scatter",
        ]
    for name in names:
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    setattr(
        sys.modules[names[-1]],
        *(
            ("ConvolutionFunction", _Of20)
            if request.param == "2.0"
            else ("GatherScatterConvolutionFuntion", _Of21)
        ),
    )
    return torchsparse_backend.convolution_function()


@pytest.fixture(scope="module")
def maps():
    generator = np.random.default_rng(0)
    coords = np.concatenate(
        [generator.integers(0, 2, (170, 1)), generator.integers(-4, 4, (170, 3))], axis=1
    )
    return KernelMaps({1: torch.from_numpy(unique_voxels(coords.T).voxel_coords)})


@pytest.mark.parametrize("kind", MAPS)
def test_values_and_gradients_equal_the_reference(function, maps, kind):
    kernel_map = MAPS[kind](maps)
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(kernel_map.num_in, 6, generator=generator).requires_grad_()
    weight = torch.randn(len(kernel_map.counts), 6, 18, generator=generator).requires_grad_()
    along = torch.randn(kernel_map.num_out, 18, generator=generator)
    ours, expected = (
        one.apply(features, weight, kernel_map) for one in (function, SparseConvolution)
    )
    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-4)
    gradients, wanted = (
        torch.autograd.grad((out * along).sum(), [features, weight]) for out in (ours, expected)
    )
    torch.testing.assert_close(gradients, wanted, rtol=1e-4, atol=1e-4)


def test_bfloat16_which_torchsparse_lacks_is_computed_in_float32(function, maps):
    kernel_map = maps.submanifold(1, 3)
    generator = torch.Generator().manual_seed(0)
    features, weight = (
        torch.randn(kernel_map.num_in, 8, generator=generator).bfloat16(),
        torch.randn(27, 8, 8, generator=generator).bfloat16(),
    )
    with torch.autocast("cpu", torch.bfloat16):
        result = function.apply(features, weight, kernel_map)
    expected = SparseConvolution.apply(features.float(), weight.float(), kernel_map)
    torch.testing.assert_close(result, expected.bfloat16(), rtol=1e-2, atol=2e-2)


def test_no_voxels_give_no_rows(function):
    nothing = KernelMaps({1: torch.zeros(0, 4, dtype=torch.int32)}).submanifold(1, 3)
    assert function.apply(torch.zeros(0, 8), torch.zeros(27, 8, 4), nothing).shape == (0, 4)


def test_a_strided_kernel_between_equally_many_rows_is_not_taken_for_a_submanifold_one(function):
    # each in a coarse voxel of its own
    coords = torch.tensor([[0, 0, 0, 0], [0, 2, 0, 0], [0, 4, 2, 1]], dtype=torch.int32)
    kernel_map = KernelMaps({1: coords}).strided(1, 2, 3)
    assert kernel_map.num_in == kernel_map.num_out == 3
    features, weight = (
        torch.eye(3),
        torch.randn(27, 3, 4, generator=torch.Generator().manual_seed(0)),
    )
    torch.testing.assert_close(
        function.apply(features, weight, kernel_map),
        SparseConvolution.apply(features, weight, kernel_map),
    )


def test_a_version_that_is_too_old_is_named(monkeypatch):
    class Old:
        @staticmethod
        def forward():
            pass

    def forward(ctx, input, weight, nbmaps, nbsizes, sizes, transposed=False):
        pass

    Old.forward.__wrapped__ = forward
    for name in (
        "torchsparse",
        "torchsparse.nn",
        "torchsparse.nn.functional",
        "torchsparse.nn.functional.conv",
    ):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    sys.modules["torchsparse.nn.functional.conv"].ConvolutionFunction = Old
    with pytest.raises(ImportError, match="older than 2.0"):
        torchsparse_backend.convolution_function()
