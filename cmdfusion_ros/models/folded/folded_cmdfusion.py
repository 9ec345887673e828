"""The inference forms of CMDFusion and of the flagship on a CPU (see `spv_folded`): same numbers to
1e-4, no gradient.

Only what the answer needs is here: both encoders, the gates into the LiDAR branch and its head. The
flagship's images are read by the other threads while the calling one begins with the LiDAR
branches.
"""

import copy
from typing import Any

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from cmdfusion_ros.batch import Batch
from cmdfusion_ros.models.flagship import see
from cmdfusion_ros.models.folded.folded_pyramid import (
    FoldedEmbedding,
    FoldedEncoder,
    FoldedHead,
    in_blocks,
    weights_of,
)
from cmdfusion_ros.models.gated_fusion import frame_means
from cmdfusion_ros.models.image_network import pixels_of
from cmdfusion_ros.models.output import Output
from cmdfusion_ros.models.resnet import BasicBlock, Bottleneck
from cmdfusion_ros.models.views import pair_with_pixels, read_image
from cmdfusion_ros.sparse.stages import stage
from cmdfusion_ros.sparse.workers import Workers, one_torch_thread


class FoldedCmdFusion:
    """Built from a trained CmdFusion, which it does not change; call it with a Batch on the CPU.

    Args:
        network: a CmdFusion on the CPU.
        num_threads: threads that share the work.
        half: see `inference_form`.
    """

    def __init__(self, network: nn.Module, num_threads: int, half: bool = False):
        self._workers = Workers(num_threads, half)
        self._embedding = FoldedEmbedding(network.embedding)
        self._lidar, self._knowledge = (
            FoldedEncoder(network.lidar),
            FoldedEncoder(network.knowledge),
        )
        self._gates = [_FoldedGate(gate) for gate in network.to_lidar]
        self._head = FoldedHead(network.head)

    def __call__(self, batch: Batch) -> Output:
        """Batch -> Output."""
        with torch.inference_mode(), one_torch_thread():
            return self._answer(*self._encode(batch), batch)

    def close(self) -> None:
        """End the threads; the network must not be called any more."""
        self._workers.close()

    def _encode(self, batch):
        """Features of both branches at every scale: two lists of (V_i, C)."""
        embedded = self._embedding.while_maps_are_found(batch, self._lidar.strides, self._workers)
        lidar = self._lidar(embedded.clone(), batch, self._workers)
        return lidar, self._knowledge(embedded, batch, self._workers)

    def _answer(self, lidar, knowledge, batch, camera_mask=None):
        scales = [batch.scale(stride) for stride in self._head.strides]
        with stage("fusion"):
            fused = [
                gate(*pair, scale, batch, self._workers)
                for gate, pair, scale in zip(
                    self._gates, zip(lidar, knowledge, strict=True), scales, strict=True
                )
            ]
        return Output(
            self._head(fused, batch, self._workers),
            scales[0].point_to_voxel,
            camera_mask=camera_mask,
        )


class FoldedFlagship(FoldedCmdFusion):
    """Built from a trained Flagship.

    Args:
        network, num_threads, half: see FoldedCmdFusion.
    """

    def __init__(self, network: nn.Module, num_threads: int, half: bool = False):
        super().__init__(network, num_threads, half)
        self._image_size = network.image_size
        self._images = fold_images(network.images)
        self._trust = copy.deepcopy(network.trust)

    def __call__(self, batch: Batch) -> Output:
        """Batch -> Output with `camera_mask`."""
        with torch.inference_mode(), one_torch_thread():
            views = [view for of_frame in batch.views for view in of_frame]
            maps: list[Any] = [None] * len(views)
            pairs: list[Any] = [None]

            def read(number):
                with stage("images"):
                    if number == len(views):
                        pairs[0] = pair_with_pixels(batch, self._image_size)
                        return
                    image = read_image(views[number], self._image_size, "cpu")[None]
                    image = image.contiguous(memory_format=torch.channels_last)
                    maps[number] = self._images(image)

            reading = self._workers.start(read, len(views) + 1)
            lidar, knowledge = self._encode(batch)
            reading.finish()
            _, chosen, camera_mask = pairs[0]
            if maps:
                with stage("fusion"):
                    levels = [torch.cat(level) for level in zip(*maps, strict=True)]
                    pixels = pixels_of(levels, chosen)
                    knowledge = see(knowledge, pixels, self._trust, self._head.strides, batch)
            return self._answer(lidar, knowledge, batch, camera_mask)


class _FoldedGate:
    """GatedFusion."""

    def __init__(self, gate):
        self.message = weights_of(gate.message)
        of_target, of_message = gate.join.weight.detach().chunk(2, 1)
        self.of_target, self.of_message, self.bias = (
            of_target.T.contiguous(),
            of_message.T.contiguous(),
            gate.join.bias.detach(),
        )
        own, of_mean = gate.gate.weight.detach().chunk(2, 1)
        self.own, self.of_mean, self.gate_bias = (
            own.T.contiguous(),
            of_mean.T.contiguous(),
            gate.gate.bias.detach(),
        )

    def __call__(self, target, source, scale, batch, workers):
        """(V, C), (V, C) -> (V, C)."""
        frames = scale.voxel_coords[:, 0].long()
        joined, fused = torch.empty_like(target), torch.empty_like(target)

        def join(start, end):
            message = torch.addmm(self.message[1], source[start:end], self.message[0]).relu_()
            torch.addmm(self.bias, message, self.of_message, out=joined[start:end]).addmm_(
                target[start:end], self.of_target
            )

        in_blocks(workers, len(target), join)
        means = torch.addmm(
            self.gate_bias,
            frame_means(joined, frames, scale.num_points, batch.num_frames),
            self.of_mean,
        )

        def pass_through(start, end):
            gate = (
                means.index_select(0, frames[start:end])
                .addmm_(joined[start:end], self.own)
                .sigmoid_()
            )
            torch.add(target[start:end], gate.mul_(joined[start:end]).relu_(), out=fused[start:end])

        in_blocks(workers, len(target), pass_through)
        return fused


def fold_images(encoder: nn.Module) -> nn.Module:
    """A copy of an ImageEncoder for inference: the ResNet's normalisations are folded into its
    convolutions, memory lies as CPUs like it (channels last).
    """
    encoder = copy.deepcopy(encoder).eval().requires_grad_(False)
    resnet = encoder.backbone
    resnet.conv1, resnet.bn1 = fuse_conv_bn_eval(resnet.conv1, resnet.bn1), nn.Identity()
    for block in resnet.modules():
        if isinstance(block, (BasicBlock, Bottleneck)):
            for number in (1, 2, 3):
                if hasattr(block, f"conv{number}"):
                    setattr(
                        block,
                        f"conv{number}",
                        fuse_conv_bn_eval(
                            getattr(block, f"conv{number}"), getattr(block, f"bn{number}")
                        ),
                    )
                    setattr(block, f"bn{number}", nn.Identity())
            if block.downsample is not None:
                block.downsample = fuse_conv_bn_eval(*block.downsample)
    return encoder.to(memory_format=torch.channels_last)
