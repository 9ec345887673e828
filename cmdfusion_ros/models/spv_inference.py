"""The SPV pyramid as it runs on a CPU: the numbers of `SpvPyramid` in eval mode, in fewer passes over memory and on several threads.

Batch norms are folded into the layers beside them, skip connections and activations into the convolutions; everything between two convolutions is done block of
rows by block of rows, while the rows are in the cache.
"""

from typing import NamedTuple

import torch

from cmdfusion_ros.models.output import Output
from cmdfusion_ros.models.spv_encoder import SLOPE
from cmdfusion_ros.sparse.cpu import affine_of, convolve, fold, row_blocks
from cmdfusion_ros.sparse.tensor import make_bags
from cmdfusion_ros.sparse.workers import one_torch_thread


class Affine(NamedTuple):
    """A linear layer: x @ weight + bias, weight (C_in, C_out); bias may be None."""

    weight: torch.Tensor
    bias: torch.Tensor

    def __call__(self, x):
        return x @ self.weight if self.bias is None else torch.addmm(self.bias, x, self.weight)


def _affine(linear, norm=None):
    """A Linear, after the BatchNorm1d that comes before it if there is one, as an Affine."""
    weight = linear.weight.detach().T
    bias = None if linear.bias is None else linear.bias.detach()
    if norm is not None:
        scale, shift = affine_of(norm)
        bias = shift @ weight + (0 if bias is None else bias)
        weight = scale[:, None] * weight
    return Affine(weight.contiguous(), bias)


class SpvPyramidInference:
    """A SpvPyramid for inference on the CPU. Later changes of the network's weights do not reach it. Several threads may call it at once.

    Args:
        network: SpvPyramid, float32, on the CPU.
        workers: Workers that share the rows.
    """

    def __init__(self, network, workers):
        self._workers = workers
        self._embedding = _Embedding(network.embedding)
        self._strides = network.encoder.strides
        self._blocks = [_Block(block) for block in network.encoder.blocks]
        self._head = _Head(network.head)

    def __call__(self, batch):
        """Batch -> Output, as the network's forward in eval mode, equal to 1e-4."""
        with torch.inference_mode(), one_torch_thread():
            features = self._embedding(batch, self._workers)
            outputs = []
            for block, stride, next_stride in zip(self._blocks, self._strides, self._strides[1:], strict=False):
                features, output = block(features, batch.maps, batch.scale(stride), batch.scale(next_stride), self._workers)
                outputs.append(output)
            return Output(self._head(outputs, batch, self._workers), batch.scale(self._strides[1]).point_to_voxel)


class _Embedding:
    """PointEmbedding: points in the order of their voxels, so that a block of voxels is a run of points."""

    def __init__(self, embedding):
        self._lift, self._mix = _affine(embedding.lift), _affine(embedding.mix)

    def __call__(self, batch, workers):
        """Batch -> (V, C)."""
        scale = batch.scale(1)
        bags = make_bags(scale.point_to_voxel, len(scale.voxel_coords))
        points = torch.cat([batch.points, batch.intensity[:, None]], 1)  # (N, 4)
        out = points.new_empty(len(scale.voxel_coords), len(self._mix.bias))

        def embed(start, end):
            order, starts = _part(bags, start, end)
            own = points.index_select(0, order)
            in_order = torch.arange(len(order), dtype=torch.int32)
            means = _bag(own, in_order, starts, "mean")[:, :3]
            anchors = torch.cat([means, scale.voxel_coords[start:end, 1:] * batch.voxel_size], 1)
            anchors = anchors.repeat_interleave(bags.counts[start:end], 0, output_size=len(order))  # (n, 6)
            xyz = own[:, :3]
            lifted = self._lift(torch.cat([own, xyz - anchors[:, :3], xyz - anchors[:, 3:]], 1)).relu_()
            torch.addmm(self._mix.bias, _bag(lifted, in_order, starts, "mean"), self._mix.weight, out=out[start:end])

        _in_blocks(workers, embed, len(out))
        return out


class _Block:
    """SpvBlock."""

    def __init__(self, block):
        self._residuals = [_Residual(residual) for residual in block.voxel_path]
        linear1, _, norm1, linear2, _, norm2, linear3, _ = block.context.mlp
        self._context = [_affine(linear1), _affine(linear2, norm1), _affine(linear3, norm2)]
        self._identity, self._join_identity = _affine(block.identity), _affine(block.join_identity)
        self._join_context, self._out = _affine(block.join_context), _affine(block.out)

    def __call__(self, x, maps, scale, next_scale, workers):
        """(V, C) on `scale` -> the next block's input (V', C) and this block's features (V', C), both on `next_scale`."""
        voxel = x
        for residual in self._residuals:
            voxel = residual(voxel, maps.submanifold(scale.stride, 3), workers)
        spread = self._spread(x, voxel, maps.children(scale.stride, 2), workers)
        joined = self._join(x, voxel, spread, maps.coarsen(scale.stride, 2), workers)
        return self._descend(joined, voxel, maps, scale, next_scale, workers)

    def _spread(self, x, voxel, children, workers):
        """The context of each 2x2x2 group, as it enters the joined features: (G, C)."""
        out = x.new_empty(len(children.starts), x.shape[1])

        def pool(start, end):
            order, starts = _part(children, start, end)
            context = _bag(x, order, starts, "mean").add_(_bag(voxel, order, starts, "mean"))
            for layer in self._context:
                context = torch.nn.functional.leaky_relu_(layer(context), SLOPE)
            torch.mm(context, self._join_context.weight, out=out[start:end])

        _in_blocks(workers, pool, len(out))
        return out

    def _join(self, x, voxel, spread, groups, workers):
        """(V, C): identity and context, joined."""
        out = torch.empty_like(x)

        def join(start, end):
            identity = torch.nn.functional.leaky_relu_(self._identity(x[start:end] + voxel[start:end]), SLOPE)
            joined = out[start:end]
            torch.index_select(spread, 0, groups[start:end], out=joined)
            joined.addmm_(identity, self._join_identity.weight).add_(self._join_identity.bias)
            torch.nn.functional.leaky_relu_(joined, SLOPE)

        _in_blocks(workers, join, len(out))
        return out

    def _descend(self, joined, voxel, maps, scale, next_scale, workers):
        """Means over the points of each coarser voxel."""
        factor = next_scale.stride // scale.stride
        children = maps.children(scale.stride, factor)
        share = scale.num_points / next_scale.num_points.index_select(0, maps.coarsen(scale.stride, factor))
        features, following = (joined.new_empty(len(children.starts), joined.shape[1]) for _ in range(2))

        def descend(start, end):
            order, starts = _part(children, start, end)
            weights = share.index_select(0, order)
            torch.addmm(self._out.bias, _bag(joined, order, starts, "sum", weights), self._out.weight, out=features[start:end])
            torch.add(features[start:end], _bag(voxel, order, starts, "sum", weights), out=following[start:end])

        _in_blocks(workers, descend, len(features))
        return following, features


class _Residual:
    """ResidualBlock: two convolutions, the skip connection a part of the second."""

    def __init__(self, residual):
        skip = fold(residual.skip, residual.skip_norm)
        self._first = fold(residual.first, residual.first_norm)
        second = fold(residual.second, residual.second_norm)
        self._second = second._replace(bias=second.bias + skip.bias)
        self._skip_weight = skip.weights[0]

    def __call__(self, x, kernel_map, workers):
        """(V, C) -> (V, C)."""
        inner = convolve(workers, self._first, x, kernel_map, slope=SLOPE)
        return convolve(workers, self._second, inner, kernel_map, skip=(x, self._skip_weight), slope=SLOPE)


class _Head:
    """PyramidHead: from the coarsest scale up, each block of rows from its features and the sums of the next coarser scale to its own sums."""

    def __init__(self, head):
        self._strides = head.strides
        self._slices = [part.T.contiguous() for part in head.hidden.weight.detach().chunk(len(head.strides), 1)]
        self._bias = head.hidden.bias.detach()
        self._logits = _affine(head.logits)

    def __call__(self, features, batch, workers):
        """List of (V_i, C) -> (V_0, classes)."""
        total = None
        for i in range(len(self._strides) - 1, 0, -1):
            total = self._sums(i, features, total, batch.maps, workers)
        out = features[0].new_empty(len(features[0]), len(self._logits.bias))

        def classify(start, end):
            hidden = self._sum(0, features, total, batch.maps, start, end).add_(self._bias).relu_()
            torch.addmm(self._logits.bias, hidden, self._logits.weight, out=out[start:end])

        _in_blocks(workers, classify, len(out))
        return out

    def _sums(self, i, features, coarser, maps, workers):
        """Sums of scale i and all coarser ones: (V_i, 128)."""
        out = features[i].new_empty(len(features[i]), len(self._bias))

        def task(start, end):
            out[start:end] = self._sum(i, features, coarser, maps, start, end)

        _in_blocks(workers, task, len(out))
        return out

    def _sum(self, i, features, coarser, maps, start, end):
        own = features[i][start:end]
        if coarser is None:
            return own @ self._slices[i]
        parents = maps.coarsen(self._strides[i], self._strides[i + 1] // self._strides[i])
        return coarser.index_select(0, parents[start:end]).addmm_(own, self._slices[i])


def _in_blocks(workers, task, num_rows):
    """task(start, end) for blocks of rows, side by side."""
    bounds = row_blocks(num_rows, workers.num_threads)
    workers.run(lambda number: task(*bounds[number]), len(bounds))


def _part(bags, start, end):
    """Order and starts of some targets of `Bags`, the starts counted from the first of them."""
    first = int(bags.starts[start]) if start < len(bags.starts) else 0
    last = int(bags.starts[end]) if end < len(bags.starts) else len(bags.order)
    return bags.order[first:last], bags.starts[start:end] - first


def _bag(values, order, starts, mode, weights=None):
    """Sums or means of rows of `values`, one a bag: (T, C)."""
    if len(order) == 0:
        return values.new_zeros(len(starts), values.shape[1])
    return torch.nn.functional.embedding_bag(order, values, starts, mode=mode, per_sample_weights=weights)
