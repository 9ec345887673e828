"""The compiled kernels with autograd: the way that trains on a CPU, where they are built."""

import functools
from typing import Any

import torch

from cmdfusion_ros.sparse import native
from cmdfusion_ros.sparse.conv import SparseConvolution
from cmdfusion_ros.sparse.cpu import FoldedConv
from cmdfusion_ros.sparse.tensor import KernelMap
from cmdfusion_ros.sparse.workers import Workers


class CompiledConvolution(torch.autograd.Function):
    """`conv.SparseConvolution` over the same pairs without the products in memory: each is added
    to its output row where it is formed, forward and in both gradients.

    For float32. Other types, and all where the kernels are switched off, take the reference.
    """

    @staticmethod
    def forward(
        ctx: Any, features: torch.Tensor, weight: torch.Tensor, kernel_map: KernelMap
    ) -> torch.Tensor:
        ctx.compiled = native.kernels() if features.dtype == weight.dtype == torch.float32 else None
        if ctx.compiled is None:
            return SparseConvolution.forward(ctx, features, weight, kernel_map)
        ctx.save_for_backward(features, weight)
        ctx.kernel_map = kernel_map
        return _convolve(ctx.compiled, features, weight, kernel_map)

    @staticmethod
    def backward(
        ctx: Any, grad_output: torch.Tensor
    ) -> tuple[torch.Tensor | None, torch.Tensor | None, None]:
        if ctx.compiled is None:
            return SparseConvolution.backward(ctx, grad_output)
        features, weight = ctx.saved_tensors
        grad_features = grad_weight = None
        if ctx.needs_input_grad[0]:
            back = weight.transpose(1, 2).contiguous()
            grad_features = _convolve(ctx.compiled, grad_output, back, ctx.kernel_map.transposed)
        if ctx.needs_input_grad[1]:
            grad_weight = ctx.compiled.weight_gradient(
                _workers(torch.get_num_threads()), features, grad_output, ctx.kernel_map
            )
        return grad_features, grad_weight, None


def _convolve(
    compiled: native.Kernels, features: torch.Tensor, weight: torch.Tensor, kernel_map: KernelMap
) -> torch.Tensor:
    """(V_in, C_in), (K, C_in, C_out) -> (V_out, C_out)."""
    if kernel_map.centre is not None and len(kernel_map.counts) == 1:
        return features @ weight[0]
    layer = FoldedConv(weight, weight.new_zeros(weight.shape[2]))
    workers = _workers(torch.get_num_threads())
    return compiled.convolve(workers, layer, features, kernel_map, None, None)


@functools.cache
def _workers(num_threads: int) -> Workers:
    return Workers(num_threads)
