"""Sparse convolution on CUDA through Triton: the gather, the products and the epilogue of a tile of
output rows in one kernel.

An implicit matrix product, output-stationary: a program owns a tile of output rows, walks the
offsets that any of them has a neighbour under, gathers those rows and accumulates in float32. Rows
with the same set of neighbours are put side by side (sorted by a bit mask of the offsets), so that
few products meet empty cells. Block sizes and warps of each layer's shape are timed once, on its
first call. No atomics, so results repeat bit by bit. Kernels run on the CPU too through Triton's
interpreter (TRITON_INTERPRET=1 set before triton is imported), for tests.
"""

from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl

from cmdfusion_ros.sparse.conv import differentiable
from cmdfusion_ros.sparse.tensor import KernelMap

# output rows of a tile: with 128, sorted masks waste a fifth more products on LiDAR
BLOCK_ROWS = 64
BLOCK_PAIRS = 64  # pairs that a step of the weight's gradient sums over
# programs that share the pairs of one offset in the weight's gradient; their parts are summed in
# order
SPLITS = 8
MAX_BLOCK_IN, MAX_BLOCK_OUT = 64, 128


def _candidates(max_out: int) -> list[Any]:
    """What is tried for any shape; `_fitting` leaves at most four of them."""
    blocks_in, blocks_out = (
        [16, 32, MAX_BLOCK_IN],
        [size for size in (16, 32, 64, 128) if size <= max_out],
    )
    return [
        triton.Config({"BLOCK_IN": i, "BLOCK_OUT": o}, num_warps=w, num_stages=3)
        for w in (4, 8)
        for i in blocks_in
        for o in blocks_out
    ]


def _fitting(configs: Any, named_args: Any, IN: int, OUT: int, **others: Any) -> Any:
    """The candidates for a layer of IN x OUT channels: blocks that hold them all if they can, or
    half of that. One where there is no GPU to time them on.
    """
    block_in = _block(IN, MAX_BLOCK_IN)
    block_out = _block(OUT, max(config.kwargs["BLOCK_OUT"] for config in configs))
    wanted = [
        (block_in, block_out, 4),
        (block_in, block_out, 8),
        (max(block_in // 2, 16), block_out, 4),
        (block_in, max(block_out // 2, 16), 4),
    ]
    fitting = [
        config
        for config in configs
        if (config.kwargs["BLOCK_IN"], config.kwargs["BLOCK_OUT"], config.num_warps) in wanted
    ]
    return fitting if torch.cuda.is_available() else fitting[-1:]


class Table(NamedTuple):
    """A KernelMap as a kernel reads it.

    Attributes:
        inputs: (K, V_out) int32, input row under each offset, -1 where there is none.
        rows: (V_out,) int32, output rows sorted by which offsets they have.
        tile_masks: (tiles,) int32, bit k set where any row of the tile has offset k.
        firsts: (K + 1,) int32, first pair of each offset.
    """

    inputs: torch.Tensor
    rows: torch.Tensor
    tile_masks: torch.Tensor
    firsts: torch.Tensor


def make_table(kernel_map: KernelMap) -> Table:
    """KernelMap -> Table, on its device."""
    device, num_offsets = kernel_map.in_rows.device, len(kernel_map.counts)
    counts = torch.tensor(kernel_map.counts, device=device)
    offset_of_pair = torch.repeat_interleave(
        torch.arange(num_offsets, device=device), counts, output_size=len(kernel_map.in_rows)
    )
    inputs = torch.full((num_offsets, kernel_map.num_out), -1, dtype=torch.int32, device=device)
    inputs[offset_of_pair, kernel_map.out_rows.long()] = kernel_map.in_rows
    bits = (1 << torch.arange(num_offsets, device=device))[:, None]
    masks = ((inputs >= 0) * bits).sum(0)  # (V_out,) int64; no two offsets share a bit
    rows = torch.argsort(masks, stable=True)
    num_tiles = -(-kernel_map.num_out // BLOCK_ROWS)
    tiled = torch.nn.functional.pad(
        masks[rows], (0, num_tiles * BLOCK_ROWS - kernel_map.num_out)
    ).view(num_tiles, BLOCK_ROWS)
    tile_masks = ((tiled[:, None, :] & bits[None]) != 0).any(2).mul(bits[:, 0]).sum(1)
    firsts = torch.nn.functional.pad(counts.cumsum(0), (1, 0))
    return Table(inputs, rows.int(), tile_masks.int(), firsts.int())


# Without a GPU there is nothing to time, nor a driver to ask for Triton's timer.
_TIMER = (
    {}
    if torch.cuda.is_available()
    else {"do_bench": lambda call, quantiles: [0.0] * len(quantiles)}
)


@triton.autotune(
    _candidates(MAX_BLOCK_OUT),
    key=["IN", "OUT", "OFFSETS"],
    prune_configs_by={"early_config_prune": _fitting},
    **_TIMER,
)
@triton.jit
def _convolve_kernel(
    features,
    weight,
    bias,
    skip,
    inputs,
    rows,
    tile_masks,
    out,
    num_out,
    slope,
    IN: tl.constexpr,
    OUT: tl.constexpr,
    OFFSETS: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    HAS_SKIP: tl.constexpr,
    HAS_SLOPE: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_IN: tl.constexpr,
    BLOCK_OUT: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Tile (program 0) of output rows x block (program 1) of output channels."""
    tile = tl.program_id(0)
    place = tile * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)
    inside = place < num_out
    row = tl.load(rows + place, mask=inside, other=0).to(tl.int64)
    out_channel = tl.program_id(1) * BLOCK_OUT + tl.arange(0, BLOCK_OUT)
    out_inside = out_channel < OUT
    mask = tl.load(tile_masks + tile)
    total = tl.zeros((BLOCK_ROWS, BLOCK_OUT), dtype=tl.float32)
    for k in range(OFFSETS):
        if (mask >> k) & 1:
            source = tl.load(inputs + k * num_out + row, mask=inside, other=-1).to(tl.int64)
            for first in range(0, IN, BLOCK_IN):
                in_channel = first + tl.arange(0, BLOCK_IN)
                in_inside = in_channel < IN
                values = tl.load(
                    features + source[:, None] * IN + in_channel[None, :],
                    mask=(source >= 0)[:, None] & in_inside[None, :],
                    other=0.0,
                )
                block = tl.load(
                    weight + (k * IN + in_channel)[:, None] * OUT + out_channel[None, :],
                    mask=in_inside[:, None] & out_inside[None, :],
                    other=0.0,
                )
                total = tl.dot(values, block, acc=total, input_precision=PRECISION)
    where = row[:, None] * OUT + out_channel[None, :]
    stored = inside[:, None] & out_inside[None, :]
    if HAS_BIAS:
        total += tl.load(bias + out_channel, mask=out_inside, other=0.0).to(tl.float32)[None, :]
    if HAS_SKIP:
        total += tl.load(skip + where, mask=stored, other=0.0).to(tl.float32)
    if HAS_SLOPE:
        total = tl.where(total > 0, total, total * slope)
    tl.store(out + where, total.to(out.dtype.element_ty), mask=stored)


@triton.autotune(
    _candidates(MAX_BLOCK_IN),
    key=["IN", "OUT", "OFFSETS"],
    prune_configs_by={"early_config_prune": _fitting},
    **_TIMER,
)
@triton.jit
def _weight_gradient_kernel(
    features,
    gradient,
    in_rows,
    out_rows,
    firsts,
    parts,
    IN: tl.constexpr,
    OUT: tl.constexpr,
    OFFSETS: tl.constexpr,
    SPLITS: tl.constexpr,
    BLOCK_PAIRS: tl.constexpr,
    BLOCK_IN: tl.constexpr,
    BLOCK_OUT: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Part of one offset's pairs (program 0) x block of the weight (programs 1 and 2):
    features[in_rows].T @ gradient[out_rows].
    """
    k, split = tl.program_id(0) // SPLITS, tl.program_id(0) % SPLITS
    in_channel = tl.program_id(1) * BLOCK_IN + tl.arange(0, BLOCK_IN)
    out_channel = tl.program_id(2) * BLOCK_OUT + tl.arange(0, BLOCK_OUT)
    in_inside, out_inside = in_channel < IN, out_channel < OUT
    end = tl.load(firsts + k + 1)
    total = tl.zeros((BLOCK_IN, BLOCK_OUT), dtype=tl.float32)
    for first in range(tl.load(firsts + k) + split * BLOCK_PAIRS, end, SPLITS * BLOCK_PAIRS):
        pair = first + tl.arange(0, BLOCK_PAIRS)
        inside = pair < end
        source = tl.load(in_rows + pair, mask=inside, other=0).to(tl.int64)
        target = tl.load(out_rows + pair, mask=inside, other=0).to(tl.int64)
        values = tl.load(
            features + source[:, None] * IN + in_channel[None, :],
            mask=inside[:, None] & in_inside[None, :],
            other=0.0,
        )
        slopes = tl.load(
            gradient + target[:, None] * OUT + out_channel[None, :],
            mask=inside[:, None] & out_inside[None, :],
            other=0.0,
        )
        total = tl.dot(tl.trans(values), slopes, acc=total, input_precision=PRECISION)
    where = ((split * OFFSETS + k) * IN + in_channel)[:, None] * OUT + out_channel[None, :]
    tl.store(parts + where, total, mask=in_inside[:, None] & out_inside[None, :])


def convolve(
    features: torch.Tensor,
    weight: torch.Tensor,
    kernel_map: KernelMap,
    bias: torch.Tensor | None = None,
    skip: torch.Tensor | None = None,
    slope: float | None = None,
) -> torch.Tensor:
    """activate(convolution + bias + skip). No gradient; see `TritonConvolution`.

    Args:
        features: (V_in, C_in) float32, float16 or bfloat16.
        weight: (K, C_in, C_out), same dtype; K at most 31.
        kernel_map: KernelMap on the same device.
        bias: (C_out,) or None. skip: (V_out, C_out) or None. slope: of a LeakyReLU or None.

    Returns:
        (V_out, C_out) of the features' dtype; sums are float32 whatever the dtype.
    """
    table = kernel_map.derived("triton table", lambda: make_table(kernel_map))
    num_offsets, in_channels, out_channels = weight.shape
    out = features.new_empty(kernel_map.num_out, out_channels)
    if out.numel() == 0:
        return out

    def grid(chosen):
        return (len(table.tile_masks), triton.cdiv(out_channels, chosen["BLOCK_OUT"]))

    _convolve_kernel[grid](
        features.contiguous(),
        weight.contiguous(),
        out if bias is None else bias,
        out if skip is None else skip.contiguous(),
        table.inputs,
        table.rows,
        table.tile_masks,
        out,
        kernel_map.num_out,
        0.0 if slope is None else slope,
        IN=in_channels,
        OUT=out_channels,
        OFFSETS=num_offsets,
        HAS_BIAS=bias is not None,
        HAS_SKIP=skip is not None,
        HAS_SLOPE=slope is not None,
        BLOCK_ROWS=BLOCK_ROWS,
        PRECISION=_precision(),
    )
    return out


def weight_gradient(
    features: torch.Tensor, gradient: torch.Tensor, kernel_map: KernelMap
) -> torch.Tensor:
    """(K, C_in, C_out) float32: for every offset the sum over its pairs of features[i].T @
    gradient[o].
    """
    table = kernel_map.derived("triton table", lambda: make_table(kernel_map))
    num_offsets, in_channels, out_channels = (
        len(kernel_map.counts),
        features.shape[1],
        gradient.shape[1],
    )
    parts = features.new_empty(SPLITS, num_offsets, in_channels, out_channels, dtype=torch.float32)

    def grid(chosen):
        return (
            num_offsets * SPLITS,
            triton.cdiv(in_channels, chosen["BLOCK_IN"]),
            triton.cdiv(out_channels, chosen["BLOCK_OUT"]),
        )

    _weight_gradient_kernel[grid](
        features.contiguous(),
        gradient.contiguous(),
        kernel_map.in_rows,
        kernel_map.out_rows,
        table.firsts,
        parts,
        IN=in_channels,
        OUT=out_channels,
        OFFSETS=num_offsets,
        SPLITS=SPLITS,
        BLOCK_PAIRS=BLOCK_PAIRS,
        PRECISION=_precision(),
    )
    return parts.sum(0)


def _block(channels: int, largest: int) -> int:
    # 16: the smallest product of tensor cores
    return min(max(triton.next_power_of_2(channels), 16), largest)


def _precision() -> str:
    """Of float32 products: as torch is told to do its own."""
    return "tf32" if torch.backends.cuda.matmul.allow_tf32 else "ieee"


# `conv.SparseConvolution` by these kernels
TritonConvolution = differentiable("TritonConvolution", convolve, weight_gradient)
