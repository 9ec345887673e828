"""The fast way on a CPU, for inference: a convolution in blocks of output rows, with bias, skip connection and LeakyReLU in the same pass.

Against the reference in `conv`: products go into scratch memory that each thread keeps, centre product, bias and skip connection are one product in place
(the segmented sum then adds all of it), and the rows of a block are still in the cache when they are activated. Results are the same to rounding.
"""

import threading
from typing import NamedTuple

import numpy as np
import torch

BLOCK_ROWS = 8192  # of output; with 6 pairs a row and 32 channels a block's products are 6 MB
MIN_BLOCK_ROWS = 1024  # below it, a block's 54 calls cost more than its work


class Block(NamedTuple):
    """The pairs of consecutive output rows.

    Attributes:
        start, end: output rows.
        offsets: tuple of offset numbers that have pairs here.
        in_rows: tuple, for each of them its (p,) int32 input rows; None for the centre, whose input rows are the output rows.
        sizes: list of pairs of each of them.
        order, starts: the block's pairs sorted by output row, and where each row begins, as `Bags` has them.
    """

    start: int
    end: int
    offsets: tuple
    in_rows: tuple
    sizes: list
    order: torch.Tensor
    starts: torch.Tensor


def row_blocks(num_rows, num_threads, block_rows=BLOCK_ROWS):
    """Bounds [(start, end)] of blocks of about equal size: at most `block_rows` long, a few for each thread where rows are few."""
    num_blocks = max(-(-num_rows // block_rows), min(num_threads, num_rows // MIN_BLOCK_ROWS), 1)
    edges = [num_rows * i // num_blocks for i in range(num_blocks + 1)]
    return list(zip(edges[:-1], edges[1:], strict=True))


def make_blocks(kernel_map, workers):
    """The pairs of a KernelMap (on the CPU) in blocks of output rows: a list of Block."""
    bounds = row_blocks(kernel_map.num_out, workers.num_threads)
    edges = np.array([0] + [end for _, end in bounds])
    out_rows = kernel_map.out_rows.numpy()
    firsts = np.concatenate([[0], np.cumsum(kernel_map.counts)])
    cuts = np.stack([first + np.searchsorted(out_rows[first:last], edges) for first, last in zip(firsts, firsts[1:], strict=False)])  # (K, blocks + 1)
    blocks = [None] * len(bounds)

    def make(number):
        blocks[number] = _make_block(kernel_map, *bounds[number], cuts[:, number], cuts[:, number + 1])

    workers.run(make, len(bounds))
    return blocks


def _make_block(kernel_map, start, end, begins, ends):
    out_rows = kernel_map.out_rows.numpy()
    offsets = [int(k) for k in np.flatnonzero(ends > begins)]
    sizes = [int(ends[k] - begins[k]) for k in offsets]
    rows = [out_rows[begins[k] : ends[k]] - np.int32(start) for k in offsets]
    in_rows = tuple(None if k == kernel_map.centre else kernel_map.in_rows[begins[k] : ends[k]] for k in offsets)
    counts = np.bincount(np.concatenate(rows), minlength=end - start) if rows else np.zeros(end - start, np.int64)
    starts = np.cumsum(counts) - counts
    order, cursor, first = np.empty(sum(sizes), np.int32), starts.copy(), 0
    for targets, size in zip(rows, sizes, strict=True):  # a counting sort: no target comes twice within one offset
        position = cursor[targets]
        order[position] = np.arange(first, first + size, dtype=np.int32)
        cursor[targets] = position + 1
        first += size
    return Block(start, end, tuple(offsets), in_rows, sizes, torch.from_numpy(order), torch.from_numpy(starts.astype(np.int32)))


_scratch = threading.local()


def scratch(name, rows, columns):
    """(rows, columns) float32 of memory that belongs to this thread and holds whatever the last user of that name left there."""
    size = rows * columns
    known = _scratch.__dict__.get(name)
    if known is None or len(known) < size:
        known = _scratch.__dict__[name] = torch.empty(size + size // 4)
    return known[:size].view(rows, columns)


class FoldedConv(NamedTuple):
    """A convolution as inference needs it: `weights` K tensors (C_in, C_out), `bias` (C_out,)."""

    weights: tuple
    bias: torch.Tensor


def fold(conv, norm=None):
    """A convolution module, and the BatchNorm1d that follows it, as one FoldedConv. The norm's running statistics are used, as in eval mode."""
    weight = conv.weight.detach()
    bias = weight.new_zeros(weight.shape[2]) if conv.bias is None else conv.bias.detach()
    if norm is not None:
        scale, shift = affine_of(norm)
        weight, bias = weight * scale, bias * scale + shift
    return FoldedConv(tuple(weight.contiguous().unbind(0)), bias.clone())


def affine_of(norm):
    """BatchNorm1d in eval mode as (scale, shift): y = x * scale + shift."""
    scale = norm.weight.detach() / torch.sqrt(norm.running_var + norm.eps)
    return scale, norm.bias.detach() - norm.running_mean * scale


def convolve(workers, conv, features, kernel_map, skip=None, slope=None):
    """activate(convolution + bias + skip), on several threads. No gradient.

    Args:
        workers: Workers; call inside `one_torch_thread()`.
        conv: FoldedConv.
        features: (V_in, C_in) float32.
        kernel_map: KernelMap on the CPU.
        skip: (skip_features (V_out, C), weight (C, C_out)), whose product is added too, or None; only for kernels with a centre (submanifold).
        slope: of a LeakyReLU; None for no activation.

    Returns:
        (V_out, C_out) float32.
    """
    blocks = kernel_map.derived(("blocks", workers.num_threads), lambda: make_blocks(kernel_map, workers))
    out = features.new_empty(kernel_map.num_out, len(conv.bias))
    workers.run(lambda number: _convolve_block(blocks[number], conv, features, out, skip, slope), len(blocks))
    return out


def _convolve_block(block, conv, features, out, skip, slope):
    """Rows start..end of `out`."""
    products = scratch("products", sum(block.sizes), out.shape[1])
    bias_is_in = False
    for k, rows, target in zip(block.offsets, block.in_rows, products.split(block.sizes), strict=True):
        if rows is None:
            torch.addmm(conv.bias, features[block.start : block.end], conv.weights[k], out=target)
            if skip is not None:
                target.addmm_(skip[0][block.start : block.end], skip[1])
            bias_is_in = True
        else:
            gathered = scratch("gathered", len(rows), features.shape[1])
            torch.index_select(features, 0, rows, out=gathered)
            torch.mm(gathered, conv.weights[k], out=target)
    result = out[block.start : block.end]
    if products.numel():
        result.copy_(torch.nn.functional.embedding_bag(block.order, products, block.starts, mode="sum"))
    else:
        result.zero_()
    if not bias_is_in:
        result += conv.bias
    if slope is not None:
        torch.nn.functional.leaky_relu_(result, slope)
