"""Other sparse convolution libraries that run on a CPU, as engines of `bench_unet`."""

import importlib.util

import torch


def peer_engines():
    """Engine classes of the libraries that can run here, and for each of the others why not.

    Returns:
        ([engine class], {name: reason}).
    """
    if importlib.util.find_spec("spconv") is None:
        return [], {"spconv": "not installed (pip install spconv)"}
    return [SpconvEngine], {}


class SpconvEngine:
    """spconv 2 on the CPU. One thread only: with more its results are wrong (its scatter shares a buffer between threads; seen with 2.3.8)."""

    name = "spconv"
    needs_one_thread = True

    def __init__(self, weights, num_threads):
        import spconv.pytorch as spconv

        self._spconv = spconv
        self.names = set(weights)
        self._weights = weights
        self._layers = {}

    def begin(self, voxel_coords, features):
        spatial = voxel_coords[:, 1:] - voxel_coords[:, 1:].amin(0) // 16 * 16  # no negative coordinates; a multiple of all strides keeps the scales nested
        shape = (spatial.amax(0) // 16 * 16 + 16).tolist()
        indices = torch.cat([voxel_coords[:, :1], spatial], 1).contiguous()
        return self._spconv.SparseConvTensor(features, indices, shape, int(voxel_coords[:, 0].max()) + 1)

    def conv(self, name, kind, x, slope, skip):
        weight, bias = self._weights[name]
        if kind == "point":  # a matrix product, which spconv's own 1x1x1 layer does with its weight misread
            features = x.features @ weight[0] + bias
        else:
            given, x = x, self._layer(name, kind, x.spatial_shape)(x)
            given.indice_dict.update(x.indice_dict)  # spconv forgets the map where the input is used again; ours does not
            features = x.features + bias
        if skip is not None:
            features += skip.features
        if slope is not None:
            torch.nn.functional.leaky_relu_(features, slope)
        return x.replace_feature(features)

    def _layer(self, name, kind, spatial_shape):
        """The module, made on first use. Indice keys, one a scale, let layers share their map as ours do."""
        if name not in self._layers:
            weight = self._weights[name].weight  # (K, C_in, C_out)
            _, in_channels, out_channels = weight.shape
            shape = [int(size) for size in spatial_shape]
            if kind == "submanifold":
                layer = self._spconv.SubMConv3d(in_channels, out_channels, 3, bias=False, indice_key=f"submanifold {shape}")
            elif kind == "strided":
                layer = self._spconv.SparseConv3d(in_channels, out_channels, 2, 2, bias=False, indice_key=f"strided {shape}")
            else:
                layer = self._spconv.SparseInverseConv3d(in_channels, out_channels, 2, bias=False, indice_key=f"strided {[2 * size for size in shape]}")
            size = round(len(weight) ** (1 / 3))
            layer.weight.data = weight.view(size, size, size, in_channels, out_channels).permute(4, 0, 1, 2, 3).contiguous()
            self._layers[name] = layer
        return self._layers[name]

    def concat(self, x, y):
        return x.replace_feature(torch.cat([x.features, y.features], 1))

    def features(self, x):
        return x.features

    def close(self):
        pass
