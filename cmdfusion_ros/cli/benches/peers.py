"""Other sparse convolution libraries that run on a CPU, as engines of `bench_unet`; and the
shipped network with its convolutions computed by one of them.
"""

import importlib
import importlib.util
import weakref
from typing import Any

import torch
from torch import nn

from cmdfusion_ros.sparse.conv import SubmanifoldConv
from cmdfusion_ros.sparse.cpu import fold


def peer_engines() -> tuple[list[Any], dict[str, str]]:
    """Engine classes of the libraries that can run here, and for each of the others why not.

    Returns:
        ([engine class], {name: reason}).
    """
    engines, left_out = [], {}
    if importlib.util.find_spec("spconv") is None:
        left_out["spconv"] = "not installed (pip install spconv)"
    else:
        engines.append(SpconvEngine)
    if importlib.util.find_spec("torchsparse") is None:
        left_out["torchsparse"] = (
            "not installed (version 1.4 is the last that runs whole networks on a CPU)"
        )
    else:
        try:
            import torchsparse

            if torchsparse.__version__.startswith("1."):
                engines.append(TorchsparseEngine)
            else:
                left_out["torchsparse"] = (
                    f"version {torchsparse.__version__} does not run whole networks on a CPU; 1.4 "
                    "does"
                )
        except Exception as error:  # from 2.1 on it asks for a GPU while it is imported
            left_out["torchsparse"] = f"it cannot be imported here: {type(error).__name__}: {error}"
    return engines, left_out


class _PeerEngine:
    """What both have in common: a module for each layer, made on first use; bias, skip
    connection and activation in torch.
    """

    def __init__(self, weights, num_threads):
        self.names = set(weights)
        self._weights = weights
        self._layers = {}
        self._library = importlib.import_module(self.module)

    def conv(self, name, kind, x, slope, skip):
        weight, bias = self._weights[name].weight, self._weights[name].bias
        # a matrix product, which spconv's own 1x1x1 layer does with its weight misread
        if kind == "point":
            features = self.features(x) @ weight[0] + bias
        else:
            x = self._apply(name, kind, x)
            features = self.features(x) + bias
        if skip is not None:
            features += self.features(skip)
        if slope is not None:
            torch.nn.functional.leaky_relu_(features, slope)
        return self.with_features(x, features)

    def concat(self, x, y):
        return self.with_features(x, torch.cat([self.features(x), self.features(y)], 1))

    def close(self):
        pass


class SpconvEngine(_PeerEngine):
    """spconv 2 on the CPU. One thread only: with more its results are wrong (its scatter shares
    a buffer between threads; seen with 2.3.8).
    """

    name, module = "spconv", "spconv.pytorch"
    needs_one_thread = True

    def begin(self, voxel_coords: torch.Tensor, features: torch.Tensor) -> Any:
        spatial = _not_negative(voxel_coords)
        shape = (spatial.amax(0) // 16 * 16 + 16).tolist()
        indices = torch.cat([voxel_coords[:, :1], spatial], 1).contiguous()
        return self._library.SparseConvTensor(
            features, indices, shape, int(voxel_coords[:, 0].max()) + 1
        )

    def _apply(self, name, kind, given):
        x = self._layer(name, kind, given.spatial_shape)(given)
        # spconv forgets the map where the input is used again; ours does not
        given.indice_dict.update(x.indice_dict)
        return x

    def _layer(self, name, kind, spatial_shape):
        """Indice keys, one a scale, let layers share their map as ours do."""
        if name not in self._layers:
            weight = self._weights[name].weight  # (K, C_in, C_out)
            _, in_channels, out_channels = weight.shape
            shape = [int(size) for size in spatial_shape]
            if kind == "submanifold":
                layer = self._library.SubMConv3d(
                    in_channels, out_channels, 3, bias=False, indice_key=f"submanifold {shape}"
                )
            elif kind == "strided":
                layer = self._library.SparseConv3d(
                    in_channels, out_channels, 2, 2, bias=False, indice_key=f"strided {shape}"
                )
            else:
                layer = self._library.SparseInverseConv3d(
                    in_channels,
                    out_channels,
                    2,
                    bias=False,
                    indice_key=f"strided {[2 * size for size in shape]}",
                )
            size = round(len(weight) ** (1 / 3))
            layer.weight.data = (
                weight.view(size, size, size, in_channels, out_channels)
                .permute(4, 0, 1, 2, 3)
                .contiguous()
            )
            self._layers[name] = layer
        return self._layers[name]

    def with_features(self, x: Any, features: torch.Tensor) -> Any:
        return x.replace_feature(features)

    def features(self, x: Any) -> torch.Tensor:
        return x.features


class TorchsparseEngine(_PeerEngine):
    """torchsparse 1.4 on the CPU: gather, product and scatter of one offset after the other."""

    name, module = "torchsparse", "torchsparse"
    needs_one_thread = False

    def begin(self, voxel_coords: torch.Tensor, features: torch.Tensor) -> Any:
        return self._library.SparseTensor(
            features, torch.cat([_not_negative(voxel_coords), voxel_coords[:, :1]], 1).contiguous()
        )

    def _apply(self, name, kind, x):
        if name not in self._layers:
            weight = self._weights[name].weight
            options = (
                {"kernel_size": 3}
                if kind == "submanifold"
                else {"kernel_size": 2, "stride": 2, "transposed": kind == "transposed"}
            )
            layer = importlib.import_module("torchsparse.nn").Conv3d(
                weight.shape[1], weight.shape[2], **options
            )
            if kind == "submanifold":  # its offsets count x fastest, ours z
                weight = (
                    weight.view(3, 3, 3, *weight.shape[1:])
                    .permute(2, 1, 0, 3, 4)
                    .reshape(weight.shape)
                )
            layer.kernel.data = weight.contiguous()
            self._layers[name] = layer
        if not x.cmaps:
            x.cmaps.setdefault(x.stride, x.coords)
        return self._layers[name](x)

    def with_features(self, x: Any, features: torch.Tensor) -> Any:
        other = self._library.SparseTensor(features, x.coords, x.stride)
        other.cmaps, other.kmaps = x.cmaps, x.kmaps
        return other

    def features(self, x: Any) -> torch.Tensor:
        return x.feats


def _not_negative(voxel_coords):
    """(V, 3) coordinates moved by a multiple of all strides, which keeps the scales nested."""
    return voxel_coords[:, 1:] - voxel_coords[:, 1:].amin(0) // 16 * 16


def run_on(engine_class: type, network: torch.nn.Module, num_threads: int) -> torch.nn.Module:
    """Replace the submanifold convolutions of a network by those of an engine; returns the
    network.
    """
    # {KernelMaps: {stride: the engine's tensor}}: maps are found once a level, as ours are
    begun = weakref.WeakKeyDictionary()
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, SubmanifoldConv) and child.kernel_size == 3:
                setattr(
                    parent, name, _PeerConv(engine_class({"conv": fold(child)}, num_threads), begun)
                )
    return network


class _PeerConv(nn.Module):
    """A SubmanifoldConv that an engine computes."""

    def __init__(self, engine, begun):
        super().__init__()
        self._engine, self._begun = engine, begun

    def forward(self, tensor):
        levels = self._begun.setdefault(tensor.maps, {})
        known = levels.get(tensor.stride)
        started = (
            self._engine.begin(tensor.voxel_coords, tensor.features)
            if known is None
            else self._engine.with_features(known, tensor.features)
        )
        levels.setdefault(tensor.stride, started)
        return tensor.with_features(
            self._engine.features(self._engine.conv("conv", "submanifold", started, None, None))
        )
