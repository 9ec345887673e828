"""Training on the compiled kernels: values and gradients of the reference, for every convolution,
width, instruction set and number of threads.
"""

import ctypes

import pytest
import torch

from cmdfusion_ros.sparse import native
from cmdfusion_ros.sparse.backends import use_backend
from cmdfusion_ros.sparse.compiled import CompiledConvolution
from cmdfusion_ros.sparse.conv import (
    SparseConvolution,
    StridedConv,
    SubmanifoldConv,
    TransposedConv,
)
from cmdfusion_ros.sparse.tensor import KernelMaps, SparseTensor
from cmdfusion_ros.sparse.workers import Workers

needs_kernels = pytest.mark.skipif(
    native.kernels() is None, reason=f"no compiled kernels: {native.why_not()}"
)
BOX = (2, 14, 12, 10)  # frames and cells; more rows than one block of the kernels


def voxels(share=0.4):
    """Sorted unique voxels of two frames around the origin, (V, 4) int32."""
    occupied = torch.rand(BOX, generator=torch.Generator().manual_seed(0)) < share
    return (occupied.nonzero() - torch.tensor([0, 7, 6, 5])).int()


def instruction_sets():
    """Those that this CPU has."""
    best = native.kernels()
    if best is None:
        return ["plain"]
    return native.INSTRUCTION_SETS[: native.INSTRUCTION_SETS.index(best.instruction_set) + 1]


def answers(backend, make_conv, kernel_size, widths):
    """[values, gradient of features, gradient of weight] of one layer on one backend."""
    generator = torch.Generator().manual_seed(1)
    maps = KernelMaps({1: voxels()})
    maps.coarsen(1, 2)
    stride = 2 if make_conv is TransposedConv else 1
    coords = maps.voxel_coords(stride)
    features = torch.randn(len(coords), widths[0], generator=generator).requires_grad_()
    torch.manual_seed(2)
    conv = use_backend(make_conv(*widths, kernel_size, bias=True), backend)
    out = conv(SparseTensor(features, coords, stride, maps)).features
    along = torch.randn(out.shape, generator=generator)
    return [out, *torch.autograd.grad((out * along).sum(), [features, conv.weight, conv.bias])]


@needs_kernels
@pytest.mark.parametrize("widths", [(3, 5), (16, 16), (24, 40), (48, 16)])
@pytest.mark.parametrize(
    ("make_conv", "kernel_size"),
    [
        (SubmanifoldConv, 1),
        (SubmanifoldConv, 3),
        (StridedConv, 2),
        (StridedConv, 3),
        (TransposedConv, 2),
        (TransposedConv, 3),
    ],
)
def test_values_and_gradients_of_every_convolution_equal_the_reference(
    make_conv, kernel_size, widths
):
    ours = answers("compiled", make_conv, kernel_size, widths)
    for one, reference in zip(ours, answers("torch", make_conv, kernel_size, widths), strict=True):
        scale = float(reference.detach().abs().max())
        torch.testing.assert_close(one, reference, rtol=1e-5, atol=1e-6 * max(scale, 1.0) * 10)


@needs_kernels
@pytest.mark.parametrize("instruction_set", instruction_sets())
@pytest.mark.parametrize("in_channels", [1, 4, 7, 12, 35])
@pytest.mark.parametrize("out_channels", [1, 7, 8, 12, 16, 19, 40, 64, 100])
def test_the_weight_gradient_of_every_width_is_that_of_a_product_an_offset(
    instruction_set, in_channels, out_channels
):
    kernel_map = KernelMaps({1: voxels()}).submanifold(1, 3)
    generator = torch.Generator().manual_seed(out_channels)
    features, grad_output = (
        torch.randn(kernel_map.num_in, width, generator=generator)
        for width in (in_channels, out_channels)
    )
    ours = native.kernels().weight_gradient(
        Workers(1), features, grad_output, kernel_map, instruction_set
    )
    pairs = zip(
        kernel_map.in_rows.split(kernel_map.counts),
        kernel_map.out_rows.split(kernel_map.counts),
        strict=True,
    )
    expected = torch.stack(
        [features[rows].double().T @ grad_output[out].double() for rows, out in pairs]
    )
    torch.testing.assert_close(ours.double(), expected, rtol=1e-4, atol=1e-4)


@needs_kernels
def test_the_number_of_threads_does_not_change_a_bit():
    kernel_map = KernelMaps({1: voxels()}).submanifold(1, 3)
    generator = torch.Generator().manual_seed(0)
    features, grad_output = (
        torch.randn(kernel_map.num_in, width, generator=generator) for width in (20, 33)
    )
    workers = Workers(3)
    try:
        many = native.kernels().weight_gradient(workers, features, grad_output, kernel_map)
    finally:
        workers.close()
    one = native.kernels().weight_gradient(Workers(1), features, grad_output, kernel_map)
    assert torch.equal(many, one)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_types_take_the_reference(dtype):
    kernel_map = KernelMaps({1: voxels(0.05)}).submanifold(1, 3)
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(kernel_map.num_in, 4, generator=generator).to(dtype).requires_grad_()
    weight = torch.randn(27, 4, 4, generator=generator).to(dtype).requires_grad_()
    ours, reference = (
        torch.autograd.grad(
            function.apply(features, weight, kernel_map).square().sum(), [features, weight]
        )
        for function in (CompiledConvolution, SparseConvolution)
    )
    assert all(map(torch.equal, ours, reference))


def test_without_kernels_the_reference_answers():
    kernel_map = KernelMaps({1: voxels(0.05)}).submanifold(1, 3)
    features, weight = torch.ones(kernel_map.num_in, 3, requires_grad=True), torch.ones(27, 3, 2)
    with native.switched_off():
        ours = CompiledConvolution.apply(features, weight, kernel_map)
        (gradient,) = torch.autograd.grad(ours.sum(), [features])
    reference = SparseConvolution.apply(features, weight, kernel_map)
    assert torch.equal(ours, reference)
    assert torch.equal(gradient, torch.autograd.grad(reference.sum(), [features])[0])


def test_no_voxels_give_no_voxels_and_no_gradient():
    empty = SparseTensor(
        torch.zeros(0, 3, requires_grad=True), torch.zeros(0, 4, dtype=torch.int32)
    )
    layers = [SubmanifoldConv(3, 4), StridedConv(4, 4), TransposedConv(4, 2)]
    out = empty
    for layer in layers:
        out = use_backend(layer, "compiled")(out)
    assert out.features.shape == (0, 2)
    out.features.sum().backward()
    assert not layers[0].weight.grad.any()


def test_a_gradient_that_is_a_view_is_read_as_it_is():
    kernel_map = KernelMaps({1: voxels(0.1)}).submanifold(1, 3)
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(kernel_map.num_in, 8, generator=generator).requires_grad_()
    weight = torch.randn(27, 8, 8, generator=generator).requires_grad_()
    along = torch.randn(8, kernel_map.num_in, generator=generator).T  # columns lie side by side
    ours, reference = (
        torch.autograd.grad(
            function.apply(features, weight, kernel_map), [features, weight], grad_outputs=along
        )
        for function in (CompiledConvolution, SparseConvolution)
    )
    torch.testing.assert_close(ours, reference, rtol=1e-4, atol=1e-4)


def test_structures_have_the_sizes_that_the_compiler_gives_them():
    assert ctypes.sizeof(native._Gradient) == 8 * (6 + 4)
    assert ctypes.sizeof(native._Lovasz) == 8 * (5 + 2)
