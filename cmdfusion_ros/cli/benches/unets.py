"""The U-Nets of `cmdfusion bench sparse`: one description, run by every engine with the same
weights, so that times compare and results must agree.

An engine has `begin(voxel_coords, features) -> x`, `conv(name, kind, x, slope, skip) -> x`,
`concat(x, y) -> x` and `features(x) -> (V, C)`; kind is one of submanifold (3x3x3), point (1x1x1),
strided and transposed (2x2x2); slope is that of a LeakyReLU or None; skip is an x to add before it,
or None.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch

from cmdfusion_ros.sparse import native
from cmdfusion_ros.sparse.conv import gather_multiply_sum
from cmdfusion_ros.sparse.cpu import FoldedConv, convolve
from cmdfusion_ros.sparse.tensor import KernelMap, KernelMaps, SparseTensor
from cmdfusion_ros.sparse.workers import Workers, one_torch_thread

SLOPE = 0.1
IN_CHANNELS = 4
KERNEL_VOLUME = {"submanifold": 27, "point": 1, "strided": 8, "transposed": 8}


class Unet(NamedTuple):
    """Shape of a MinkUNet: channels of the stem, of each encoder and decoder stage, and residual
    blocks a stage.
    """

    stem: int
    encoder: tuple
    decoder: tuple
    blocks: int


UNETS = {
    "small": Unet(16, (16, 32, 64, 96), (64, 32, 16, 16), 2),
    "full": Unet(32, (32, 64, 128, 256), (256, 128, 96, 96), 2),
}


class Layer(NamedTuple):
    """One convolution: its name, kind and channels, and the stride of its output voxels."""

    name: str
    kind: str
    in_channels: int
    out_channels: int
    stride: int


def layers_of(unet: Any) -> list[Layer]:
    """Every convolution of a U-Net: a list of Layer."""
    layers = [Layer("stem", "submanifold", IN_CHANNELS, unet.stem, 1)]
    skips, channels, stride = [unet.stem], unet.stem, 1
    for i, width in enumerate(unet.encoder):
        stride *= 2
        layers.append(Layer(f"down{i}", "strided", channels, channels, stride))
        layers += _stage(f"encoder{i}", channels, width, stride, unet.blocks)
        channels = width
        skips.append(channels)
    skips.pop()
    for i, width in enumerate(unet.decoder):
        stride //= 2
        layers.append(Layer(f"up{i}", "transposed", channels, width, stride))
        layers += _stage(f"decoder{i}", width + skips.pop(), width, stride, unet.blocks)
        channels = width
    return layers


def _stage(name, in_channels, width, stride, blocks):
    layers = []
    for b in range(blocks):
        if in_channels != width:
            layers.append(Layer(f"{name}.{b}.skip", "point", in_channels, width, stride))
        layers.append(Layer(f"{name}.{b}.first", "submanifold", in_channels, width, stride))
        layers.append(Layer(f"{name}.{b}.second", "submanifold", width, width, stride))
        in_channels = width
    return layers


def random_weights(layers: Sequence[Layer], seed: int = 0) -> dict[str, FoldedConv]:
    """{name: FoldedConv} that keep activations near one."""
    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for layer in layers:
        pairs = {"submanifold": 5, "point": 1, "strided": 2, "transposed": 1}[layer.kind]
        shape = (KERNEL_VOLUME[layer.kind], layer.in_channels, layer.out_channels)
        weight = torch.randn(shape, generator=generator) / (pairs * layer.in_channels) ** 0.5
        weights[layer.name] = FoldedConv(
            weight, 0.1 * torch.randn(layer.out_channels, generator=generator)
        )
    return weights


def run_unet(
    engine: Any, unet: Any, voxel_coords: torch.Tensor, features: torch.Tensor
) -> torch.Tensor:
    """(V, C) of the last layer."""
    x = engine.conv("stem", "submanifold", engine.begin(voxel_coords, features), SLOPE, None)
    skips = [x]
    for i, _ in enumerate(unet.encoder):
        x = engine.conv(f"down{i}", "strided", x, SLOPE, None)
        x = _run_stage(engine, f"encoder{i}", x, unet.blocks)
        skips.append(x)
    skips.pop()
    for i, _ in enumerate(unet.decoder):
        x = engine.conv(f"up{i}", "transposed", x, SLOPE, None)
        x = _run_stage(engine, f"decoder{i}", engine.concat(x, skips.pop()), unet.blocks)
    return engine.features(x)


def _run_stage(engine, name, x, blocks):
    for b in range(blocks):
        skip = (
            engine.conv(f"{name}.{b}.skip", "point", x, None, None)
            if f"{name}.{b}.skip" in engine.names
            else x
        )
        inner = engine.conv(f"{name}.{b}.first", "submanifold", x, SLOPE, None)
        x = engine.conv(f"{name}.{b}.second", "submanifold", inner, SLOPE, skip)
    return x


def kernel_map_of(kind: str, maps: KernelMaps, stride: int) -> KernelMap:
    """The KernelMap of a layer whose input has this stride."""
    if kind == "strided":
        return maps.strided(stride, 2, 2)
    if kind == "transposed":
        return maps.strided(stride // 2, 2, 2).transposed
    return maps.submanifold(stride, 3 if kind == "submanifold" else 1)


OUT_STRIDE = {
    "submanifold": lambda s: s,
    "point": lambda s: s,
    "strided": lambda s: 2 * s,
    "transposed": lambda s: s // 2,
}


class TorchEngine:
    """Our reference: `sparse.conv`, on torch's own threads."""

    name = "torch"
    needs_one_thread = False

    def __init__(self, weights: Mapping[str, FoldedConv], num_threads: int):
        self.names = set(weights)
        self._weights = weights

    def begin(self, voxel_coords: torch.Tensor, features: torch.Tensor) -> SparseTensor:
        return SparseTensor(features, voxel_coords, 1, KernelMaps({1: voxel_coords}))

    def conv(
        self, name: str, kind: str, x: SparseTensor, slope: float | None, skip: SparseTensor | None
    ) -> SparseTensor:
        weight, bias = self._weights[name].weight, self._weights[name].bias
        features = (
            gather_multiply_sum(x.features, weight, kernel_map_of(kind, x.maps, x.stride)) + bias
        )
        if skip is not None:
            features = features + skip.features
        if slope is not None:
            features = torch.nn.functional.leaky_relu(features, slope)
        stride = OUT_STRIDE[kind](x.stride)
        return SparseTensor(features, x.maps.voxel_coords(stride), stride, x.maps)

    def concat(self, x: SparseTensor, y: SparseTensor) -> SparseTensor:
        return x.with_features(torch.cat([x.features, y.features], 1))

    def features(self, x: SparseTensor) -> torch.Tensor:
        return x.features

    def close(self) -> None:
        pass


class CpuEngine(TorchEngine):
    """The fast path: `sparse.cpu`, on threads of its own."""

    name = "cpu"

    def __init__(self, weights: Mapping[str, FoldedConv], num_threads: int):
        super().__init__(weights, num_threads)
        self._workers = Workers(num_threads)

    def conv(
        self, name: str, kind: str, x: SparseTensor, slope: float | None, skip: SparseTensor | None
    ) -> SparseTensor:
        with one_torch_thread():
            kernel_map = kernel_map_of(kind, x.maps, x.stride)
            skip = None if skip is None else (skip.features, None)
            features = convolve(
                self._workers, self._weights[name], x.features, kernel_map, skip, slope
            )
        stride = OUT_STRIDE[kind](x.stride)
        return SparseTensor(features, x.maps.voxel_coords(stride), stride, x.maps)

    def concat(self, x: SparseTensor, y: SparseTensor) -> SparseTensor:
        with one_torch_thread():
            return super().concat(x, y)

    def close(self) -> None:
        self._workers.close()


class CpuTorchEngine(CpuEngine):
    """The fast path as it is where no compiler was there: torch and numpy alone."""

    name = "cpu-torch"

    def conv(
        self, name: str, kind: str, x: SparseTensor, slope: float | None, skip: SparseTensor | None
    ) -> SparseTensor:
        with native.switched_off():
            return super().conv(name, kind, x, slope, skip)


def gmacs_of(layers: Sequence[Layer], voxel_coords: torch.Tensor) -> float:
    """Useful multiply-adds of some layers on some voxels, in billions: pairs of voxels that
    really meet, times channels.
    """
    maps = KernelMaps({1: voxel_coords})
    total = 0
    for layer in layers:
        in_stride = {"strided": layer.stride // 2, "transposed": layer.stride * 2}.get(
            layer.kind, layer.stride
        )
        if not maps.has_level(layer.stride):
            maps.coarsen(layer.stride // 2, 2)
        total += (
            sum(kernel_map_of(layer.kind, maps, in_stride).counts)
            * layer.in_channels
            * layer.out_channels
        )
    return total / 1e9
