"""Sparse convolution by torchsparse 2 on CUDA, where it is installed: its kernels on our kernel
maps, so weights are ours and results come in our order.

Versions 2.0 and 2.1 have the same gather-product-scatter under different names. Only
`convolution_function` imports torchsparse, and 2.1 asks for a GPU while
it is imported: call it where torch.cuda.is_available().
"""

import importlib
from collections.abc import Callable
from typing import Any

import torch

from cmdfusion_ros.sparse.conv import SparseConvolution
from cmdfusion_ros.sparse.tensor import KernelMap


def convolution_function() -> Any:
    """The class whose `apply(features, weight, kernel_map)` convolves, with gradients.

    Raises:
        ImportError: torchsparse is not installed, or older than 2.0. RuntimeError: it finds no GPU.
    """
    importlib.import_module("torchsparse")
    conv = importlib.import_module("torchsparse.nn.functional.conv")
    if hasattr(conv, "ConvolutionFunction"):
        function = conv.ConvolutionFunction
        num_arguments = (
            function.forward.__wrapped__.__code__.co_argcount
            if hasattr(function.forward, "__wrapped__")
            else 13
        )
        if num_arguments < 13:
            raise ImportError("torchsparse is older than 2.0")
        return _adapter(function, _arguments_of_2_0)
    return _adapter(
        importlib.import_module(
            "torchsparse.nn.functional.conv.func.gather_scatter"
        ).GatherScatterConvolutionFuntion,
        _arguments_of_2_1,
    )


def _arguments_of_2_0(kernel_map: KernelMap) -> tuple[Any, ...]:
    """What `ConvolutionFunction.apply` takes after features and weight."""
    pairs, counts, nothing = _pairs(kernel_map)
    return (
        pairs,
        counts,
        nothing,
        (kernel_map.num_in, kernel_map.num_out),
        nothing,
        nothing,
        0.0,
        0,
        0,
        False,
    )


def _arguments_of_2_1(kernel_map: KernelMap) -> tuple[Any, ...]:
    """What `GatherScatterConvolutionFuntion.apply` takes after features and weight."""
    pairs, counts, nothing = _pairs(kernel_map)
    sizes = (kernel_map.num_in, kernel_map.num_out)
    return (
        {
            "nbmaps": pairs,
            "nbsizes": counts,
            "sizes": sizes,
            "input_mask": nothing,
            "output_mask": nothing,
        },
        {"epsilon": 0.0, "mm_thresh": 0},
        False,
    )


def _pairs(kernel_map: KernelMap) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Pairs (P, 2) int32 of input and output row, grouped by offset; how many of each, on the
    CPU; and an empty tensor for what is not used.
    """

    def make() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        pairs = torch.stack([kernel_map.in_rows, kernel_map.out_rows], 1).contiguous()
        return pairs, torch.tensor(kernel_map.counts, dtype=torch.int32), pairs.new_empty(0)

    return kernel_map.derived("torchsparse pairs", make)


def _adapter(function: Any, arguments_of: Callable[[KernelMap], tuple[Any, ...]]) -> Any:
    class TorchsparseConvolution:
        """`conv.SparseConvolution` by torchsparse: same arguments, same gradients."""

        @staticmethod
        def apply(
            features: torch.Tensor, weight: torch.Tensor, kernel_map: KernelMap
        ) -> torch.Tensor:
            if not _suits(kernel_map):
                return SparseConvolution.apply(features, weight, kernel_map)
            dtype = features.dtype
            if dtype == torch.bfloat16:  # its kernels know float32 and float16
                features, weight = features.float(), weight.float()
            # dtypes are chosen by now, and 2.0 would cast again
            with torch.autocast(features.device.type, enabled=False):
                return function.apply(features, weight, *arguments_of(kernel_map)).to(dtype)

    return TorchsparseConvolution


def _suits(kernel_map: KernelMap) -> bool:
    """Whether torchsparse computes this map as it is: it takes every odd kernel between equally
    many rows for a submanifold one.
    """
    num_offsets = len(kernel_map.counts)
    looks_submanifold = num_offsets % 2 == 1 and kernel_map.num_in == kernel_map.num_out
    return (
        num_offsets > 1
        and len(kernel_map.in_rows) > 0
        and (kernel_map.centre is not None or not looks_submanifold)
    )
