"""What the sparse U-Nets do on the finest voxels besides convolving, in blocks of rows shared among
threads: the branch of points beside the decoder, its skip connections, the joins with what is known
of images, and the head.
"""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn.functional import embedding_bag

from cmdfusion_ros.batch import Batch
from cmdfusion_ros.models.folded.folded_pyramid import in_blocks, members, weights_of
from cmdfusion_ros.models.gated_fusion import frame_means
from cmdfusion_ros.models.spv_unet import SpvUnet
from cmdfusion_ros.models.unet_flagship import Join
from cmdfusion_ros.sparse.cpu import affine_of
from cmdfusion_ros.sparse.tensor import SparseTensor
from cmdfusion_ros.sparse.workers import Workers


class FoldedDecoder:
    """SpvUnet.decode.

    Args:
        network: an SpvUnet; its normalisations are folded into the layers before them.
        stages: its four up stages, folded.
        workers: who shares the work.
    """

    def __init__(self, network: SpvUnet, stages: Sequence[nn.Module], workers: Workers):
        self._stages, self._workers = stages, workers
        self._of_points = []
        for linear, norm, _ in network.of_points:
            (weight, bias), (scale, shift) = weights_of(linear), affine_of(norm)
            self._of_points.append(((weight * scale).contiguous(), bias * scale + shift))

    def __call__(self, encoded: Sequence[SparseTensor], batch: Batch) -> torch.Tensor:
        """SparseTensors of STRIDES -> (V_1, D) features on the finest voxels."""
        finest, x = encoded[0], encoded[4]
        points = self._points(0, finest.features, x, batch)
        x = self._met(x, points, batch)
        x = self._up(1, self._up(0, x, encoded[3]), encoded[2])
        points = self._points(1, points, x, batch)
        x = self._met(x, points, batch)
        x = self._up(3, self._up(2, x, encoded[1]), encoded[0])
        return self._points(2, points, x, batch)

    def _points(self, number, points, x, batch):
        """relu(norm(linear(points))) and the voxel of `x` that each lies in: (V_1, D)."""
        weight, bias = self._of_points[number]
        parents = None if x.stride == 1 else batch.maps.coarsen(1, x.stride)
        out = points.new_empty(len(points), len(bias))

        def task(start, end):
            own = torch.addmm(bias, points[start:end], weight, out=out[start:end]).relu_()
            if parents is None:
                own.add_(x.features[start:end])
            else:
                own.add_(x.features.index_select(0, parents[start:end]))

        in_blocks(self._workers, len(points), task)
        return out

    def _met(self, x, points, batch):
        """`x` with the mean of the points' features in each of its voxels in place of its own."""
        fine, coarse = batch.scale(1).num_points, batch.scale(x.stride).num_points
        bags = batch.maps.children(1, x.stride)
        out = points.new_empty(len(coarse), points.shape[1])

        def task(start, end):
            rows, starts, local = members(bags, start, end)
            share = fine.index_select(0, rows) / coarse[start:end].index_select(0, local)
            out[start:end] = embedding_bag(
                rows, points, starts, mode="sum", per_sample_weights=share
            )

        in_blocks(self._workers, len(out), task)
        return x.with_features(out)

    def _up(self, number, x, skip):
        """UpStage."""
        stage = self._stages[number]
        x = stage.up(x)
        own, width = x.features, x.features.shape[1]
        both = own.new_empty(len(own), width + skip.features.shape[1])

        def task(start, end):
            both[start:end, :width] = own[start:end]
            both[start:end, width:] = skip.features[start:end]

        in_blocks(self._workers, len(both), task)
        return stage.blocks(x.with_features(both))


class FoldedJoin(nn.Module):
    """Join of the unet flagship."""

    def __init__(self, join: Join, workers: Workers):
        super().__init__()
        self._message, self._workers = weights_of(join.message), workers
        weight, self._bias = weights_of(join.join)
        self._of_target, self._of_message = (part.contiguous() for part in weight.chunk(2))
        gate, self._gate_bias = weights_of(join.gate)
        self._own, self._of_mean = (part.contiguous() for part in gate.chunk(2))

    def forward(
        self, target: torch.Tensor, source: torch.Tensor, stride: int, batch: Batch
    ) -> torch.Tensor:
        """(V, Ct), (V, Cs) on the voxels of `stride` -> (V, Ct)."""
        scale = batch.scale(stride)
        joined, out = torch.empty_like(target), torch.empty_like(target)

        def join(start, end):
            message = torch.addmm(self._message[1], source[start:end], self._message[0]).relu_()
            own = torch.addmm(self._bias, target[start:end], self._of_target, out=joined[start:end])
            own.addmm_(message, self._of_message)

        in_blocks(self._workers, len(target), join)
        frames = scale.voxel_coords[:, 0].long()
        means = frame_means(joined, frames, scale.num_points, batch.num_frames) @ self._of_mean
        means += self._gate_bias

        def gate(start, end):
            own = joined[start:end]
            share = means.index_select(0, frames[start:end]).addmm_(own, self._own).sigmoid_()
            torch.addcmul(target[start:end], share, own, out=out[start:end])

        in_blocks(self._workers, len(target), gate)
        return out


class FoldedLinear(nn.Module):
    """nn.Linear on (V, C)."""

    def __init__(self, linear: nn.Linear, workers: Workers):
        super().__init__()
        (self._weight, self._bias), self._workers = weights_of(linear), workers

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(V, C) -> (V, C')."""
        out = features.new_empty(len(features), len(self._bias))

        def task(start, end):
            torch.addmm(self._bias, features[start:end], self._weight, out=out[start:end])

        in_blocks(self._workers, len(out), task)
        return out
