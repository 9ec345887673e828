"""Sparse 3D convolutions in plain torch with autograd: the reference that every faster backend is
held to, and the form that trains.

Weights are (K, in_channels, out_channels), offsets numbered as in `neighbours`. The same
convolution on a dense grid has `weight.reshape(k, k, k, C_in, C_out).permute(4, 3, 0, 1, 2)` in
conv3d, `.permute(3, 4, 0, 1, 2)` in conv_transpose3d.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn

from cmdfusion_ros.sparse.tensor import KernelMap, SparseTensor

# Pairs an output voxel has on average in LiDAR scans (3 to 8 of 27; the mean is what matters for
# the variance of the first outputs).
EXPECTED_NEIGHBOURS = {
    "submanifold": {1: 1.0, 3: 6.0},
    "strided": {2: 2.0, 3: 8.0},
    "transposed": {2: 1.0, 3: 3.4},
}


def differentiable(
    name: str, convolve: Callable[..., torch.Tensor], weight_gradient: Callable[..., torch.Tensor]
) -> type[torch.autograd.Function]:
    """The autograd function `name` of (features, weight, kernel_map): out[o] = sum over pairs
    (k, i, o) of features[i] @ weight[k]. The gradient of the features is the same convolution with
    rows exchanged.

    Args:
        convolve: called with these three.
        weight_gradient: called with features, the output's gradient (contiguous) and kernel_map.
    """

    def forward(
        ctx: Any, features: torch.Tensor, weight: torch.Tensor, kernel_map: KernelMap
    ) -> torch.Tensor:
        ctx.save_for_backward(features, weight)
        ctx.kernel_map = kernel_map
        return convolve(features, weight, kernel_map)

    def backward(
        ctx: Any, grad_output: torch.Tensor
    ) -> tuple[torch.Tensor | None, torch.Tensor | None, None]:
        features, weight = ctx.saved_tensors
        grad_output = grad_output.contiguous()
        grad_features = grad_weight = None
        if ctx.needs_input_grad[0]:
            grad_features = convolve(grad_output, weight.transpose(1, 2), ctx.kernel_map.transposed)
        if ctx.needs_input_grad[1]:
            grad_weight = weight_gradient(features, grad_output, ctx.kernel_map).to(weight.dtype)
        return grad_features, grad_weight, None

    members = {"forward": staticmethod(forward), "backward": staticmethod(backward)}
    return type(name, (torch.autograd.Function,), members)


def weight_gradient(
    features: torch.Tensor, grad_output: torch.Tensor, kernel_map: KernelMap
) -> torch.Tensor:
    """(V_in, C_in), (V_out, C_out) -> (K, C_in, C_out): one matrix product an offset."""
    shape = (len(kernel_map.counts), features.shape[1], grad_output.shape[1])
    gradient = features.new_zeros(shape)
    for k, start, end in offset_ranges(kernel_map):
        inputs = rows_of(features, kernel_map.in_rows, k, start, end, kernel_map)
        outputs = rows_of(grad_output, kernel_map.out_rows, k, start, end, kernel_map)
        torch.mm(inputs.T, outputs, out=gradient[k])
    return gradient


def offset_ranges(kernel_map: KernelMap) -> Iterator[tuple[int, int, int]]:
    """(number, first pair, one past the last pair) of every offset that has pairs."""
    start = 0
    for k, count in enumerate(kernel_map.counts):
        if count:
            yield k, start, start + count
        start += count


def rows_of(
    values: torch.Tensor, rows: torch.Tensor, k: int, start: int, end: int, kernel_map: KernelMap
) -> torch.Tensor:
    """values[rows[start:end]]; without a copy for the centre offset, whose rows are all rows in
    order.
    """
    return values if k == kernel_map.centre else values.index_select(0, rows[start:end])


def gather_multiply_sum(
    features: torch.Tensor, weight: torch.Tensor, kernel_map: KernelMap
) -> torch.Tensor:
    """(V_in, C_in), (K, C_in, C_out) -> (V_out, C_out). No gradient."""
    if kernel_map.centre is not None and len(kernel_map.counts) == 1:
        return features @ weight[0]
    products = features.new_empty(len(kernel_map.in_rows), weight.shape[2])  # (P, C_out)
    for k, start, end in offset_ranges(kernel_map):
        torch.mm(
            rows_of(features, kernel_map.in_rows, k, start, end, kernel_map),
            weight[k],
            out=products[start:end],
        )
    return kernel_map.by_output.sum(products)


# One matrix product an offset over gathered rows, then one segmented sum over all products. The
# order of every sum is fixed, so results repeat bit by bit on the CPU.
SparseConvolution = differentiable("SparseConvolution", gather_multiply_sum, weight_gradient)


class _Conv(nn.Module):
    """Weight, bias and checks of the three convolutions, which differ in the kernel map they ask
    for.
    """

    kind = ""  # of EXPECTED_NEIGHBOURS
    convolution = SparseConvolution  # the autograd function; see `backends.use_backend`

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, bias: bool):
        super().__init__()
        if kernel_size not in EXPECTED_NEIGHBOURS[self.kind]:
            raise ValueError(
                f"kernel_size: expected one of {sorted(EXPECTED_NEIGHBOURS[self.kind])} for a "
                f"{self.kind} convolution, got {kernel_size}"
            )
        self.in_channels, self.out_channels, self.kernel_size = (
            in_channels,
            out_channels,
            kernel_size,
        )
        self.weight = nn.Parameter(torch.empty(kernel_size**3, in_channels, out_channels))
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Kaiming for a ReLU, with the fan that LiDAR gives: most of the kernel's cells are
        empty, so 27 * C_in would start far too small.
        """
        fan_in = self.in_channels * EXPECTED_NEIGHBOURS[self.kind][self.kernel_size]
        nn.init.normal_(self.weight, std=math.sqrt(2.0 / fan_in))
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def extra_repr(self) -> str:
        return (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, "
            f"bias={self.bias is not None}"
        )

    def _apply_kernel(self, tensor: SparseTensor, kernel_map: KernelMap) -> torch.Tensor:
        """(V_out, C_out)."""
        if tensor.features.shape[1] != self.in_channels:
            raise ValueError(
                f"{type(self).__name__}: expected {self.in_channels} channels, got "
                f"{tensor.features.shape[1]}"
            )
        features, weight, device_type = tensor.features, self.weight, tensor.features.device.type
        # autocast does not look into an autograd function
        if torch.is_autocast_enabled(device_type):
            dtype = torch.get_autocast_dtype(device_type)
            features, weight = features.to(dtype), weight.to(dtype)
        features = self.convolution.apply(features, weight, kernel_map)
        return features if self.bias is None else features + self.bias


class SubmanifoldConv(_Conv):
    """Convolution whose output voxels are its input voxels, so that sparsity never spreads (Graham
    et al., 2018).

    Args:
        in_channels, out_channels: C_in, C_out.
        kernel_size: 1 or 3.
        bias: add a learned (C_out,) vector.
    """

    kind = "submanifold"

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int = 3, bias: bool = False
    ):
        super().__init__(in_channels, out_channels, kernel_size, bias)

    def forward(self, tensor: SparseTensor) -> SparseTensor:
        """SparseTensor (V, C_in) -> SparseTensor (V, C_out) on the same voxels."""
        return tensor.with_features(
            self._apply_kernel(tensor, tensor.maps.submanifold(tensor.stride, self.kernel_size))
        )


class StridedConv(_Conv):
    """Convolution to voxels twice as large: those that hold at least one input voxel, for either
    kernel size, so that scales nest.

    Args:
        in_channels, out_channels: C_in, C_out.
        kernel_size: 2 (each input voxel counts once) or 3 (centred on 2 o).
        bias: add a learned (C_out,) vector.
    """

    kind = "strided"

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int = 2, bias: bool = False
    ):
        super().__init__(in_channels, out_channels, kernel_size, bias)

    def forward(self, tensor: SparseTensor) -> SparseTensor:
        """SparseTensor (V, C_in) of stride s -> SparseTensor (V', C_out) of stride 2 s."""
        kernel_map = tensor.maps.strided(tensor.stride, 2, self.kernel_size)
        coarse = tensor.stride * 2
        return SparseTensor(
            self._apply_kernel(tensor, kernel_map),
            tensor.maps.voxel_coords(coarse),
            coarse,
            tensor.maps,
        )


class TransposedConv(_Conv):
    """The way back: from voxels of stride 2 s to the known voxels of stride s, over the pairs of
    `StridedConv` with its kernel size.

    Args:
        in_channels, out_channels: C_in, C_out.
        kernel_size: 2 or 3.
        bias: add a learned (C_out,) vector.
    """

    kind = "transposed"

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int = 2, bias: bool = False
    ):
        super().__init__(in_channels, out_channels, kernel_size, bias)

    def forward(self, tensor: SparseTensor) -> SparseTensor:
        """SparseTensor (V', C_in) of stride 2 s -> SparseTensor (V, C_out) of stride s;
        ValueError where the input has no such level.
        """
        fine, odd = divmod(tensor.stride, 2)
        if odd or not tensor.maps.has_level(fine):
            raise ValueError(
                "TransposedConv: expected a tensor that came down from stride "
                f"{tensor.stride / 2:g}, but its input has no voxels of that stride"
            )
        kernel_map = tensor.maps.strided(fine, 2, self.kernel_size).transposed
        return SparseTensor(
            self._apply_kernel(tensor, kernel_map),
            tensor.maps.voxel_coords(fine),
            fine,
            tensor.maps,
        )
