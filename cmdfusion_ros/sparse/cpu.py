"""The fast way on a CPU, for inference: a convolution in blocks of output rows, with bias, skip
connection and LeakyReLU in the same pass.

Against the reference in `conv`: offsets with about equally many pairs are multiplied in one batch,
products go into scratch memory that each thread keeps, centre product, bias and skip connection are
one product in place (the segmented sum then adds all of it), and the rows of a block are still in
the cache when they are activated. Results are the same to rounding.
"""

import functools
import threading
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from cmdfusion_ros.sparse import native
from cmdfusion_ros.sparse.tensor import KernelMap
from cmdfusion_ros.sparse.workers import Workers

BLOCK_ROWS = 8192  # rows of a layer without neighbours that one thread takes at a time
MIN_BLOCK_ROWS = 1024
# pairs of a convolution that one thread takes at a time: with 32 channels their products are 8 MB
BLOCK_PAIRS = 65536
MIN_BLOCK_PAIRS = 8192  # below it, a block's calls cost more than its work
# pairs that may be wasted on an offset to have it in the batch of another, which saves a call; one
# plan serves all widths
MAX_PADDING = 64


class Group(NamedTuple):
    """Offsets of a block that are multiplied in one batch, each padded to `rows` pairs.

    Attributes:
        offsets: list of offset numbers.
        in_rows: (len(offsets) * rows,) int32, input rows, offset by offset; padding points at row
            0.
        rows: pairs of each offset, padding included.
        start: row of the block's products where this group's begin.
    """

    offsets: list
    in_rows: torch.Tensor
    rows: int
    start: int


class Block(NamedTuple):
    """The pairs of consecutive output rows.

    Products lie in this order: those of the centre offset (one for each output row) if the map has
    one, then group by group.

    Attributes:
        start, end: output rows.
        num_products: rows of all products, padding included.
        groups: list of Group.
        order, starts: for each output row its products, and where they begin in `order`; as `Bags`
            has them.
    """

    start: int
    end: int
    num_products: int
    groups: list
    order: torch.Tensor
    starts: torch.Tensor


def row_blocks(num_rows: int, num_threads: int) -> list[tuple[int, int]]:
    """Bounds [(start, end)] of blocks of about equal size: at most BLOCK_ROWS long, at least one
    for each thread unless rows are few.
    """
    return _bounds(
        num_rows, max(-(-num_rows // BLOCK_ROWS), min(num_threads, num_rows // MIN_BLOCK_ROWS), 1)
    )


def _bounds(num_rows: int, num_blocks: int) -> list[tuple[int, int]]:
    edges = [num_rows * i // num_blocks for i in range(num_blocks + 1)]
    return list(zip(edges[:-1], edges[1:], strict=True))


def make_blocks(kernel_map: KernelMap, num_threads: int) -> list[Block]:
    """The pairs of a KernelMap (on the CPU) in blocks of output rows.

    Args:
        kernel_map: KernelMap.
        num_threads: threads that will share the blocks.

    Returns:
        list of Block.
    """
    num_pairs = len(kernel_map.in_rows)
    bounds = _bounds(
        kernel_map.num_out,
        max(-(-num_pairs // BLOCK_PAIRS), min(num_threads, num_pairs // MIN_BLOCK_PAIRS), 1),
    )
    in_rows, out_rows, counts = (
        kernel_map.in_rows.numpy(),
        kernel_map.out_rows.numpy(),
        np.array(kernel_map.counts),
    )
    firsts = np.concatenate([[0], np.cumsum(counts)])
    edges = np.array([0] + [end for _, end in bounds])
    # (K, blocks + 1)
    cuts = np.stack(
        [
            firsts[k] + np.searchsorted(out_rows[firsts[k] : firsts[k + 1]], edges)
            for k in range(len(counts))
        ]
    )
    sizes = np.diff(cuts)  # (K, blocks): pairs of every offset in every block
    layouts = [_lay_out(sizes[:, number], kernel_map.centre) for number in range(len(bounds))]
    # Where each pair's product lies among those of its block. Pairs are sorted by offset, then by
    # output row, so by offset, then by block.
    shifts = (np.stack([layout.places for layout in layouts], axis=1) - cuts[:, :-1]).astype(
        np.int32
    )
    places = np.repeat(shifts.ravel(), sizes.ravel())
    places += np.arange(num_pairs, dtype=np.int32)
    order, starts = _by_output(places, out_rows, firsts, kernel_map.num_out)
    blocks = []
    for number, ((start, end), layout) in enumerate(zip(bounds, layouts, strict=True)):
        groups = []
        for offsets, rows, first in layout.groups:
            padded = np.zeros((len(offsets), rows), np.int32)
            for line, k in zip(padded, offsets, strict=True):
                line[: sizes[k, number]] = in_rows[cuts[k, number] : cuts[k, number + 1]]
            groups.append(Group(offsets, torch.from_numpy(padded.reshape(-1)), rows, first))
        own = torch.from_numpy(order[starts[start] : starts[end]])
        blocks.append(
            Block(
                start,
                end,
                layout.num_products,
                groups,
                own,
                torch.from_numpy(starts[start:end] - starts[start]),
            )
        )
    return blocks


class _Layout(NamedTuple):
    """Where the products of a block's offsets lie: `places` (K,) first row of each offset,
    `groups` [(offsets, rows of each, first row)], `num_products`.
    """

    places: np.ndarray
    groups: list
    num_products: int


def _lay_out(sizes: Any, centre: int | None) -> _Layout:
    """Group the offsets of one block: largest first, each group as long as no member wastes more
    than MAX_PADDING rows.
    """
    places, groups, end = np.zeros(len(sizes), np.int64), [], 0
    if centre is not None:
        end = int(sizes[centre])
    offsets = sorted(
        (k for k in range(len(sizes)) if sizes[k] and k != centre), key=lambda k: -sizes[k]
    )
    while offsets:
        rows = int(sizes[offsets[0]])
        members = [k for k in offsets if rows - sizes[k] <= MAX_PADDING]
        offsets = offsets[len(members) :]
        groups.append((members, rows, end))
        for k in members:
            places[k] = end
            end += rows
    return _Layout(places, groups, end)


def _by_output(places: Any, out_rows: Any, firsts: Any, num_out: int) -> tuple[Any, Any]:
    """`places` (P,) sorted by output row, and where each of these begins, (num_out + 1,), both
    int32.

    A counting sort, offset by offset (`firsts`: where each begins): within one no output row comes
    twice.
    """
    starts = np.zeros(num_out + 1, np.int32)
    np.cumsum(np.bincount(out_rows, minlength=num_out), out=starts[1:])
    order, cursor = np.empty(len(out_rows), np.int32), starts[:-1].copy()
    for first, last in zip(firsts, firsts[1:], strict=False):
        targets = out_rows[first:last]
        position = cursor[targets]
        order[position] = places[first:last]
        position += 1
        cursor[targets] = position
    return order, starts


_scratch = threading.local()


def scratch(name: str, rows: int, columns: int) -> torch.Tensor:
    """(rows, columns) float32 of memory that belongs to this thread and holds whatever the last
    user of that name left there.
    """
    size = rows * columns
    known = _scratch.__dict__.get(name)
    if known is None or len(known) < size:
        known = _scratch.__dict__[name] = torch.empty(size + size // 4)
    return known[:size].view(rows, columns)


@dataclass(frozen=True, eq=False)
class FoldedConv:
    """A convolution as inference needs it: `weight` (K, C_in, C_out), `bias` (C_out,)."""

    weight: torch.Tensor
    bias: torch.Tensor

    @functools.cached_property
    def half(self) -> torch.Tensor | None:
        """The weight as `native_half.cpp` reads it, (K, C_in / 2, C_out, 2) bfloat16; None for
        widths that it cannot.
        """
        offsets, inputs, outputs = self.weight.shape
        if inputs % 2 or outputs % 16:
            return None
        pairs = self.weight.view(offsets, inputs // 2, 2, outputs).transpose(2, 3)
        return pairs.contiguous().bfloat16()


def fold(conv: nn.Module, norm: nn.BatchNorm1d | None = None) -> FoldedConv:
    """A convolution module, and the BatchNorm1d that follows it, as one FoldedConv. The norm's
    running statistics are used, as in eval mode.
    """
    weight = conv.weight.detach()
    bias = weight.new_zeros(weight.shape[2]) if conv.bias is None else conv.bias.detach()
    if norm is not None:
        scale, shift = affine_of(norm)
        weight, bias = weight * scale, bias * scale + shift
    return FoldedConv(weight.clone(), bias.clone())


def affine_of(norm: nn.BatchNorm1d) -> tuple[torch.Tensor, torch.Tensor]:
    """BatchNorm1d in eval mode as (scale, shift): y = x * scale + shift."""
    scale = norm.weight.detach() / torch.sqrt(norm.running_var + norm.eps)
    return scale, norm.bias.detach() - norm.running_mean * scale


def convolve(
    workers: Workers,
    conv: FoldedConv,
    features: torch.Tensor,
    kernel_map: KernelMap,
    skip: tuple[torch.Tensor, torch.Tensor | None] | None = None,
    slope: float | None = None,
) -> torch.Tensor:
    """activate(convolution + bias + skip), on several threads. No gradient.

    Args:
        workers: Workers; call inside `one_torch_thread()`.
        conv: FoldedConv.
        features: (V_in, C_in) float32.
        kernel_map: KernelMap on the CPU.
        skip: (skip_features (V_out, C), weight (C, C_out) or None for the identity), whose product
            is added too, or None; only for kernels with a centre (submanifold).
        slope: of a LeakyReLU; None for no activation.

    Returns:
        (V_out, C_out) float32.
    """
    compiled = native.kernels()
    if compiled is not None:
        return compiled.convolve(workers, conv, features, kernel_map, skip, slope)
    blocks = prepare(workers, kernel_map)
    out = features.new_empty(kernel_map.num_out, len(conv.bias))
    workers.run(
        lambda number: _convolve_block(
            blocks[number], kernel_map.centre, conv, features, out, skip, slope
        ),
        len(blocks),
    )
    return out


def prepare(workers: Workers, kernel_map: KernelMap) -> Any:
    """What `convolve` reads of a KernelMap, made on the first call: `convolve` would make it
    too, but alone, where several can be made side by side.
    """
    if native.kernels() is not None:
        return native.prepare(kernel_map)
    return kernel_map.derived(
        ("blocks", workers.num_threads), lambda: make_blocks(kernel_map, workers.num_threads)
    )


def _convolve_block(
    block: Block,
    centre: int | None,
    conv: FoldedConv,
    features: torch.Tensor,
    out: torch.Tensor,
    skip: Any,
    slope: float | None,
) -> None:
    """Rows start..end of `out`."""
    result = out[block.start : block.end]
    products = scratch("products", block.num_products, out.shape[1]) if block.groups else result
    if centre is not None:
        own = torch.addmm(
            conv.bias,
            features[block.start : block.end],
            conv.weight[centre],
            out=products[: len(result)],
        )
        if skip is not None:
            _add_product(own, skip[0][block.start : block.end], skip[1])
    for group in block.groups:
        _multiply_group(group, conv.weight, features, products)
    if block.groups:
        result.copy_(
            torch.nn.functional.embedding_bag(block.order, products, block.starts, mode="sum")
        )
    elif centre is None:
        result.zero_()
    if centre is None:
        result += conv.bias
    if slope is not None:
        torch.nn.functional.leaky_relu_(result, slope)


def _multiply_group(
    group: Group, weight: torch.Tensor, features: torch.Tensor, products: torch.Tensor
) -> None:
    """The products of one Group."""
    (_, in_channels, out_channels), num_rows = weight.shape, len(group.in_rows)
    gathered = scratch("gathered", num_rows, in_channels)
    torch.index_select(features, 0, group.in_rows, out=gathered)
    target = products[group.start : group.start + num_rows]
    if len(group.offsets) == 1:
        torch.mm(gathered, weight[group.offsets[0]], out=target)
    else:
        torch.bmm(
            gathered.view(-1, group.rows, in_channels),
            weight[group.offsets],
            out=target.view(-1, group.rows, out_channels),
        )


def _add_product(target: torch.Tensor, features: torch.Tensor, weight: torch.Tensor | None) -> None:
    """target += features @ weight, where no weight is the identity."""
    if weight is None:
        target += features
    else:
        target.addmm_(features, weight)
