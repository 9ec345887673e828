"""Images -> feature maps of one width at four scales, each knowing what lies around it: ResNet
and a decoder after SwiftNet (Orsic et al. 2019).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.functional import adaptive_avg_pool2d, interpolate

from cmdfusion_ros.models.resnet import ResNet

POOLED_GRIDS = (8, 4, 2, 1)  # cells along the shorter side


@dataclass(frozen=True)
class ImageShape:
    """How a network looks at images.

    Attributes:
        size: (width, height) that images are resized to.
        depth, stem_stride, width: of the encoder, see ResNet.
    """

    size: tuple[int, int]
    depth: int
    stem_stride: int
    width: int

    def encoder(self, channels: int) -> "ImageEncoder":
        """A new one, whose maps have `channels`."""
        return ImageEncoder(self.depth, channels, self.stem_stride, self.width)


class PyramidPooling(nn.Module):
    """The coarsest map with the means of larger and larger parts of the image beside it.

    Args:
        in_channels: of the map.
        channels: of the result.
    """

    def __init__(self, in_channels: int, channels: int):
        super().__init__()
        part = max(1, channels // len(POOLED_GRIDS))
        self.inward = _norm_relu_conv(in_channels, channels, 1)
        # before pooling: one cell of one image has no variance
        self.norm = nn.BatchNorm2d(channels)
        self.parts = nn.ModuleList(nn.Conv2d(channels, part, 1, bias=False) for _ in POOLED_GRIDS)
        self.out = _norm_relu_conv(channels + part * len(POOLED_GRIDS), channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(V, in_channels, h, w) -> (V, channels, h, w)."""
        x = self.inward(x)
        height, width = x.shape[2:]
        levels, normed = [x], self.norm(x).relu()
        for part, cells in zip(self.parts, POOLED_GRIDS, strict=True):
            shorter = min(height, width)
            # cells about as wide as high
            grid = (max(1, round(cells * height / shorter)), max(1, round(cells * width / shorter)))
            levels.append(_enlarged(part(adaptive_avg_pool2d(normed, grid)), (height, width)))
        return self.out(torch.cat(levels, 1))


class SwiftDecoder(nn.Module):
    """From coarse to fine: enlarge, add the encoder's map of that scale, smooth by a 3x3
    convolution.

    Args:
        in_channels: of the encoder's maps, finest first.
        channels: of every map given.
    """

    def __init__(self, in_channels: Sequence[int], channels: int):
        super().__init__()
        self.pooling = PyramidPooling(in_channels[-1], channels)
        self.skips = nn.ModuleList(
            _norm_relu_conv(width, channels, 1) for width in in_channels[:-1]
        )
        self.smooth = nn.ModuleList(
            _norm_relu_conv(channels, channels, 3) for _ in in_channels[:-1]
        )

    def forward(self, maps: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Maps of the encoder, finest first -> as many maps (V, channels, h_i, w_i) of the same
        sizes, finest first.
        """
        x = self.pooling(maps[-1])
        decoded = [x]
        for i in reversed(range(len(self.skips))):
            x = self.smooth[i](_enlarged(x, maps[i].shape[2:]) + self.skips[i](maps[i]))
            decoded.insert(0, x)
        return decoded


class ImageEncoder(nn.Module):
    """ResNet and SwiftDecoder.

    Args:
        depth, stem_stride, width: see ResNet.
        channels: of every map given.
    """

    def __init__(self, depth: int, channels: int, stem_stride: int = 2, width: int = 64):
        super().__init__()
        self.backbone = ResNet(depth, stem_stride, width)
        self.decoder = SwiftDecoder(self.backbone.channels, channels)

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        """(V, 3, H, W), normalised as `views` does -> four maps (V, channels, h_i, w_i), finest
        first.
        """
        return self.decoder(self.backbone(images))


def _norm_relu_conv(in_channels, out_channels, kernel_size):
    convolution = nn.Conv2d(
        in_channels, out_channels, kernel_size, padding=kernel_size // 2, bias=False
    )
    return nn.Sequential(nn.BatchNorm2d(in_channels), nn.ReLU(), convolution)


def _enlarged(x, size):
    return interpolate(x, size, mode="bilinear", align_corners=False)
