"""The inference forms of the sparse U-Nets on a CPU: a copy of the network in which
convolutions, their normalisations, skip connections and ReLUs
are one pass each over blocks of rows, shared among a few threads (see `sparse.cpu`). Same numbers
to rounding, no gradient.
"""

import copy

import torch
from torch import nn

from cmdfusion_ros.batch import Batch
from cmdfusion_ros.models.folded.folded_cmdfusion import fold_images
from cmdfusion_ros.models.folded.folded_decoder import FoldedDecoder, FoldedJoin, FoldedLinear
from cmdfusion_ros.models.folded.folded_lite_images import fold_lite_images
from cmdfusion_ros.models.folded.folded_pyramid import FoldedEmbedding, FoldedEncoder
from cmdfusion_ros.models.output import Output
from cmdfusion_ros.models.spv_encoder import SpvEncoder
from cmdfusion_ros.models.spv_unet import STRIDES, ConvNormRelu, UnetBlock
from cmdfusion_ros.models.unet_flagship import UnetFlagship
from cmdfusion_ros.sparse.conv import SubmanifoldConv, TransposedConv
from cmdfusion_ros.sparse.cpu import FoldedConv, affine_of, convolve, fold, prepare
from cmdfusion_ros.sparse.stages import stage
from cmdfusion_ros.sparse.tensor import SparseTensor
from cmdfusion_ros.sparse.workers import Workers, one_torch_thread


class FoldedUnet:
    """Built from a trained SpvUnet, UnetFlagship or U2mkd, which it does not change; call it with a
    Batch on the CPU.

    Args:
        network: one of them, on the CPU.
        num_threads: threads that share the work.
        half: see `inference_form`.
    """

    def __init__(self, network: nn.Module, num_threads: int, half: bool = False):
        self._workers = Workers(num_threads, half)
        self._network = _folded(copy.deepcopy(network).eval().requires_grad_(False), self._workers)
        self._network.decode = FoldedDecoder(network, self._network.up, self._workers)
        self._network.head = FoldedLinear(network.head, self._workers)
        if isinstance(network, UnetFlagship):
            self._network.images = fold_lite_images(network.images)
            self._network.maps_of, self._network.run = self._maps_of, self._workers.run
            for number, join in enumerate(network.joins):
                self._network.joins[number] = FoldedJoin(join, self._workers)
        elif hasattr(network, "images"):
            self._network.images = fold_images(network.images)
            resnet = self._network.images.backbone
            for number, layer in enumerate(resnet.layers, start=1):
                setattr(resnet, f"layer{number}", _ImageByImage(layer, self._workers))

    def __call__(self, batch: Batch) -> Output:
        """Batch -> Output."""
        with torch.inference_mode(), one_torch_thread():
            self._make_maps(batch.maps)
            return self._network(batch)

    def close(self) -> None:
        """End the threads; the network must not be called any more."""
        self._workers.close()

    def _maps_of(self, images):
        """UnetFlagship.maps_of, one image a task."""
        maps = [None] * len(images)

        def task(number):
            image = images[number].contiguous(memory_format=torch.channels_last)
            maps[number] = self._network.images(image)

        self._workers.run(task, len(images))
        return maps

    def _make_maps(self, maps):
        """Every level's maps on one thread, largest level first."""

        def task(number):
            stride = STRIDES[number]
            with stage("kernel maps"):
                prepare(self._workers, maps.submanifold(stride, 3))
                if stride != STRIDES[-1]:
                    down = maps.strided(stride, 2, 2)
                    prepare(self._workers, down)
                    prepare(self._workers, down.transposed)
                    maps.coarsen(1, 2 * stride)
                if stride in (4, 16):
                    maps.children(1, stride)

        self._workers.run(task, len(STRIDES))


def _folded(module, workers):
    """`module` with its parts exchanged for folded ones, at any depth."""
    for name, child in module.named_children():
        if isinstance(child, ConvNormRelu):
            setattr(module, name, _FoldedLayer(child, workers))
        elif isinstance(child, UnetBlock):
            setattr(module, name, _UnetBlock(child, workers))
        elif name == "embedding":
            setattr(module, name, _Embedding(child, workers))
        elif isinstance(child, SpvEncoder):
            setattr(module, name, _Encoder(child, workers))
        elif name != "images":
            _folded(child, workers)
    return module


class _Embedding(nn.Module):
    """PointEmbedding."""

    def __init__(self, embedding, workers):
        super().__init__()
        self.folded, self.workers = FoldedEmbedding(embedding), workers

    def forward(self, batch):
        with stage("embedding"):
            features = self.folded(batch, self.workers)
        return SparseTensor(features, batch.scale(1).voxel_coords, 1, batch.maps)


class _Encoder(nn.Module):
    """SpvEncoder."""

    def __init__(self, encoder, workers):
        super().__init__()
        self.folded, self.workers = FoldedEncoder(encoder), workers

    def forward(self, embedded, batch):
        return self.folded(embedded.features, batch, self.workers)


class _FoldedLayer(nn.Module):
    """ConvNormRelu."""

    def __init__(self, layer, workers):
        super().__init__()
        self.folded, self.workers = fold(layer.convolution, layer.norm), workers
        self.kind = type(layer.convolution)

    def forward(self, x):
        if self.kind is SubmanifoldConv:
            kernel_map, stride = x.maps.submanifold(x.stride, 3), x.stride
        elif self.kind is TransposedConv:
            kernel_map, stride = x.maps.strided(x.stride // 2, 2, 2).transposed, x.stride // 2
        else:
            kernel_map, stride = x.maps.strided(x.stride, 2, 2), 2 * x.stride
        with stage(f"layers, stride {stride}"):
            features = convolve(self.workers, self.folded, x.features, kernel_map, slope=0.0)
        return SparseTensor(features, x.maps.voxel_coords(stride), stride, x.maps)


class _UnetBlock(nn.Module):
    """UnetBlock."""

    def __init__(self, block, workers):
        super().__init__()
        self.first, self.workers = _FoldedLayer(block.first, workers), workers
        self.second, self.skip_weight = fold(block.second, block.second_norm), None
        if not isinstance(block.skip, nn.Identity):
            linear, norm = block.skip
            scale, shift = affine_of(norm)
            self.skip_weight = (linear.weight.detach().T * scale).contiguous()
            self.second = FoldedConv(self.second.weight, self.second.bias + shift)

    def forward(self, x):
        kernel_map = x.maps.submanifold(x.stride, 3)
        inner, skip = self.first(x).features, (x.features, self.skip_weight)
        with stage(f"layers, stride {x.stride}"):
            features = convolve(self.workers, self.second, inner, kernel_map, skip=skip, slope=0.0)
        return x.with_features(features)


class _ImageByImage(nn.Module):
    """A stage of a ResNet, one image a task."""

    def __init__(self, layer, workers):
        super().__init__()
        self.layer, self.workers = layer, workers

    def forward(self, images):
        parts = [None] * len(images)

        def task(number):
            parts[number] = self.layer(
                images[number : number + 1].contiguous(memory_format=torch.channels_last)
            )

        self.workers.run(task, len(parts))
        return torch.cat(parts)
