"""The inference form of the SPV pyramid on a CPU: same numbers to 1e-4, several times as fast as
the training form.

Batch normalisations are folded into the layers beside them, bias, skip connection and LeakyReLU
ride along with each convolution, and every step works through blocks of rows that stay in the
cache, shared among a few threads (see `sparse.workers`). No gradient.
"""

from collections.abc import Callable, Sequence

import torch
from torch import nn
from torch.nn.functional import embedding_bag, leaky_relu_

from cmdfusion_ros.batch import Batch
from cmdfusion_ros.models.output import Output
from cmdfusion_ros.models.spv_encoder import SLOPE
from cmdfusion_ros.sparse.cpu import FoldedConv, affine_of, convolve, fold, prepare, row_blocks
from cmdfusion_ros.sparse.stages import stage
from cmdfusion_ros.sparse.tensor import Bags, make_bags
from cmdfusion_ros.sparse.workers import Workers, one_torch_thread


class FoldedSpvPyramid:
    """Built from a trained SpvPyramid, which it does not change; call it with a Batch on the CPU.

    Args:
        network: a SpvPyramid on the CPU.
        num_threads: threads that share the work.
        half: see `inference_form`.
    """

    def __init__(self, network: nn.Module, num_threads: int, half: bool = False):
        self._workers = Workers(num_threads, half)
        self._embedding = FoldedEmbedding(network.embedding)
        self._encoder = FoldedEncoder(network.encoder)
        self._head = FoldedHead(network.head)

    def __call__(self, batch: Batch) -> Output:
        """Batch -> Output."""
        with torch.inference_mode(), one_torch_thread():
            x = self._embedding.while_maps_are_found(batch, self._encoder.strides, self._workers)
            features = self._encoder(x, batch, self._workers)
            return Output(
                self._head(features, batch, self._workers),
                batch.scale(self._head.strides[0]).point_to_voxel,
            )

    def close(self) -> None:
        """End the threads; the network must not be called any more."""
        self._workers.close()


class FoldedEmbedding:
    """PointEmbedding, with its first layer split: what depends on the voxel alone is worked out
    once a voxel, and a point adds only its offset from the voxel's
    corner and its intensity. With p = corner + offset: lift(p, i, p - mean, p - corner) = (offset,
    i) @ own + (corner @ at - mean_offset @ to_mean + bias).
    """

    def __init__(self, embedding: nn.Module):
        weight, self._scaled = embedding.lift.weight.detach().double(), False
        if embedding.scales is not None:
            weight, self._scaled = weight * embedding.scales.double(), True
        # x y z, intensity (one column or two), offset from the mean, offset from the corner
        columns = weight.T
        position, intensity = columns[:3], columns[3:-6]
        to_mean, to_corner = columns[-6:-3], columns[-3:]
        self.own = torch.cat([position + to_mean + to_corner, intensity]).float()
        self.of_voxel = torch.cat([position, -to_mean]).float()
        self.bias = embedding.lift.bias.detach()
        self.mix = weights_of(embedding.mix)

    def __call__(self, batch: Batch, workers: Workers) -> torch.Tensor:
        """(V, C) on the voxels of stride 1."""
        scale = batch.scale(1)
        intensity = batch.scaled_intensity if self._scaled else batch.intensity[:, None]
        points = torch.cat([batch.points, intensity], 1)
        corners = scale.voxel_coords[:, 1:] * batch.voxel_size
        corners = torch.nn.functional.pad(corners, (0, intensity.shape[1]))
        bags = make_bags(scale.point_to_voxel, len(scale.voxel_coords))
        out = points.new_empty(len(scale.voxel_coords), len(self.bias))

        def task(start, end):
            rows, starts, voxel = members(bags, start, end)
            corner = corners[start:end]
            # (n, 4 or 5), offset and intensity
            own = points.index_select(0, rows).sub_(corner.index_select(0, voxel))
            everyone = torch.arange(len(rows), dtype=torch.int32)
            mean = embedding_bag(everyone, own, starts, mode="mean")[:, :3]
            base = torch.addmm(self.bias, torch.cat([corner[:, :3], mean], 1), self.of_voxel)
            lifted = base.index_select(0, voxel).addmm_(own, self.own).relu_()
            torch.addmm(
                self.mix[1],
                embedding_bag(everyone, lifted, starts, mode="mean"),
                self.mix[0],
                out=out[start:end],
            )

        in_blocks(workers, len(out), task)
        return out

    def while_maps_are_found(
        self, batch: Batch, strides: tuple[int, ...], workers: Workers
    ) -> torch.Tensor:
        """As a call, while the maps that encoders of `strides` read are made: each level's on
        one thread, largest level first; the others embed meanwhile.
        """
        embedded, strides = [], sorted(set(strides[:-1]))

        def task(number):
            if number == 1:
                with stage("embedding"):
                    embedded.append(self(batch, workers))
                return
            stride = strides[max(number - 1, 0)]
            with stage("kernel maps"):
                prepare(workers, batch.maps.submanifold(stride, 3))
                batch.maps.children(stride, 2)

        workers.run(task, len(strides) + 1)
        return embedded[0]


class FoldedEncoder:
    """SpvEncoder."""

    def __init__(self, encoder: nn.Module):
        self.strides = encoder.strides
        self._blocks = [_PyramidBlock(block) for block in encoder.blocks]

    def __call__(self, x: torch.Tensor, batch: Batch, workers: Workers) -> list[torch.Tensor]:
        """(V, C) from a FoldedEmbedding, which is used up -> list of (V_i, C)."""
        outputs = []
        for block, stride, next_stride in zip(
            self._blocks, self.strides, self.strides[1:], strict=False
        ):
            with stage(f"layers, stride {stride}"):
                scales = batch.scale(stride), batch.scale(next_stride)
                x, features = block(x, batch, *scales, workers)
            outputs.append(features)
        return outputs


class _PyramidBlock:
    """SpvBlock."""

    def __init__(self, block):
        self.residuals = [_fold_residual(residual) for residual in block.voxel_path]
        self.identity = weights_of(block.identity)
        self.join = weights_of(block.join_identity)
        self.context = _fold_mlp(block.context.mlp)
        self.join_context = block.join_context.weight.detach().T.contiguous()
        self.out = weights_of(block.out)

    def __call__(self, x, batch, scale, next_scale, workers):
        """(V, C) on `scale` -> (V', C) on `next_scale`, input of the next block, and the
        features (V', C) of this one.
        """
        voxel = self._voxel_path(x, batch.maps.submanifold(scale.stride, 3), workers)
        joined = self._join(x, voxel, workers)  # `x` now holds x + voxel
        groups = batch.maps.coarsen(scale.stride, 2)
        context = self._context(x, batch.maps.children(scale.stride, 2), workers)
        bags = _bags_to(next_scale, scale, batch.maps)
        features, following = x.new_empty(2, len(next_scale.voxel_coords), x.shape[1])

        def task(start, end):
            rows, starts, local = members(bags, start, end)
            share = scale.num_points.index_select(0, rows).div_(
                next_scale.num_points[start:end].index_select(0, local)
            )
            own = joined.index_select(0, rows).add_(
                context.index_select(0, groups.index_select(0, rows))
            )
            everyone = torch.arange(len(rows), dtype=torch.int32)
            mean = embedding_bag(
                everyone, leaky_relu_(own, SLOPE), starts, mode="sum", per_sample_weights=share
            )
            torch.addmm(self.out[1], mean, self.out[0], out=features[start:end])
            voxel_mean = embedding_bag(rows, voxel, starts, mode="sum", per_sample_weights=share)
            torch.add(features[start:end], voxel_mean, out=following[start:end])

        in_blocks(workers, len(features), task)
        return following, features

    def _voxel_path(self, x, kernel_map, workers):
        """The residual blocks: (V, C) -> (V, C)."""
        for first, second, skip_weight in self.residuals:
            inner = convolve(workers, first, x, kernel_map, slope=SLOPE)
            x = convolve(workers, second, inner, kernel_map, skip=(x, skip_weight), slope=SLOPE)
        return x

    def _join(self, x, voxel, workers):
        """Adds `voxel` to `x` in place; returns join_identity(leaky(identity(x + voxel)))."""
        joined = torch.empty_like(x)

        def task(start, end):
            both = x[start:end].add_(voxel[start:end])
            identity = leaky_relu_(torch.addmm(self.identity[1], both, self.identity[0]), SLOPE)
            torch.addmm(self.join[1], identity, self.join[0], out=joined[start:end])

        in_blocks(workers, len(x), task)
        return joined

    def _context(self, both, bags, workers):
        """join_context(context) of every group: (G, C)."""
        context = both.new_empty(len(bags.starts), both.shape[1])

        def task(start, end):
            rows, starts, _ = members(bags, start, end)
            pooled = embedding_bag(rows, both, starts, mode="mean")
            for weight, bias in self.context:
                pooled = leaky_relu_(torch.addmm(bias, pooled, weight), SLOPE)
            torch.mm(pooled, self.join_context, out=context[start:end])

        in_blocks(workers, len(context), task)
        return context


class FoldedHead:
    """PyramidHead."""

    def __init__(self, head: nn.Module):
        self.strides = head.strides
        # S of (C, 128)
        self.slices = [
            part.T.contiguous() for part in head.hidden.weight.detach().chunk(len(head.strides), 1)
        ]
        self.bias = head.hidden.bias.detach()
        self.logits = weights_of(head.logits)

    def __call__(
        self, features: Sequence[torch.Tensor], batch: Batch, workers: Workers
    ) -> torch.Tensor:
        """List of (V_i, C) -> (V_0, classes)."""
        total = None
        for i in reversed(range(len(features))):
            above, index = total, None
            if above is not None and self.strides[i + 1] != self.strides[i]:
                index = batch.maps.coarsen(self.strides[i], self.strides[i + 1] // self.strides[i])
            num_columns = len(self.bias) if i else len(self.logits[1])
            total = features[i].new_empty(len(features[i]), num_columns)
            with stage("head"):
                self._add_level(i, features[i], above, index, total, workers)
        return total

    def _add_level(self, i, features, above, index, out, workers):
        def task(start, end):
            own = features[start:end]
            if above is None:
                hidden = torch.addmm(self.bias, own, self.slices[i])
            else:
                spread = (
                    above[start:end].clone()
                    if index is None
                    else above.index_select(0, index[start:end])
                )
                hidden = spread.addmm_(own, self.slices[i])
            if i:
                out[start:end] = hidden
            else:
                torch.addmm(self.logits[1], hidden.relu_(), self.logits[0], out=out[start:end])

        in_blocks(workers, len(features), task)


def in_blocks(workers: Workers, num_rows: int, task: Callable[[int, int], None]) -> None:
    """Call task(start, end) for blocks that cover all rows."""
    bounds = row_blocks(num_rows, workers.num_threads)
    workers.run(lambda number: task(*bounds[number]), len(bounds))


def members(bags: Bags, start: int, end: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The rows summed into targets start..end: their numbers (n,), where each target's begin
    among them, and the target of each, counted from `start`.
    """
    starts, counts = bags.starts[start:end], bags.counts[start:end]
    if end == start:
        return bags.order[:0], starts, bags.order[:0]
    first = int(starts[0])
    last = int(starts[-1]) + int(counts[-1])
    local = torch.repeat_interleave(
        torch.arange(end - start, dtype=torch.int32), counts.long(), output_size=last - first
    )
    return bags.order[first:last], starts - first, local


def _bags_to(next_scale, scale, maps):
    """Bags of the voxels of `scale` in those of a coarser scale, or of the same one."""
    if next_scale.stride == scale.stride:
        rows = torch.arange(len(next_scale.voxel_coords), dtype=torch.int32)
        return Bags(rows, rows, torch.ones_like(rows))
    return maps.children(scale.stride, next_scale.stride // scale.stride)


def weights_of(linear: nn.Linear) -> tuple[torch.Tensor, torch.Tensor]:
    """nn.Linear -> (weight (in, out), bias (out,)) for addmm."""
    return linear.weight.detach().T.contiguous(), linear.bias.detach()


def _fold_residual(block):
    """ResidualBlock -> its two convolutions and the weight (C, C) of the skip connection, whose
    bias the second takes over.
    """
    skip = fold(block.skip, block.skip_norm)
    second = fold(block.second, block.second_norm)
    return (
        fold(block.first, block.first_norm),
        FoldedConv(second.weight, second.bias + skip.bias),
        skip.weight[0],
    )


def _fold_mlp(mlp):
    """Linear, LeakyReLU, norm, Linear, LeakyReLU, norm, Linear, LeakyReLU -> three (weight,
    bias) with a LeakyReLU after each.
    """
    layers = []
    scale, shift = torch.ones(mlp[0].in_features), torch.zeros(mlp[0].in_features)
    for linear, norm in ((mlp[0], mlp[2]), (mlp[3], mlp[5]), (mlp[6], None)):
        weight = linear.weight.detach().T
        layers.append(
            ((scale[:, None] * weight).contiguous(), linear.bias.detach() + shift @ weight)
        )
        if norm is not None:
            scale, shift = affine_of(norm)
    return layers
