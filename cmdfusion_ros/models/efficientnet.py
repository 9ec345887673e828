"""EfficientNet-lite0 (Tan and Le, ICML 2019; the "lite" form has no squeeze-and-excitation, ReLU6
for swish, and a stem of fixed width) up to a sixteenth of the image, without its classifier.

Modules are named as in the published PyTorch weights, so that those load as they are.
"""

import torch
from torch import nn
from torch.nn.functional import conv2d, pad

from cmdfusion_ros.models.views import IMAGE_MEAN, IMAGE_STD

STEM = 32
# (blocks, kernel, stride of the first, factor of expansion, channels) of each stage
STAGES = ((1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112))
GIVEN_AFTER = (2, 4, 10)  # blocks whose maps are given: the last ones of strides 4, 8 and 16
CHANNELS = (24, 40, 112)
_EPSILON = 1e-3  # of the normalisations, as in training of the published weights


def as_published(images: torch.Tensor) -> torch.Tensor:
    """(V, 3, H, W) as `views` normalises them -> (x - 127) / 128, x in 0 .. 255, as the published
    weights read them.
    """
    std, mean = (images.new_tensor(values)[:, None, None] for values in (IMAGE_STD, IMAGE_MEAN))
    return images * (std * 255 / 128) + (mean * 255 - 127) / 128


class SameConv2d(nn.Conv2d):
    """A convolution padded as TensorFlow does: what is odd goes to the right and below."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(V, C, h, w) -> (V, C', ceil(h / stride), ceil(w / stride))."""
        kernel, stride = self.kernel_size[0], self.stride[0]
        height, width = (
            max((-(-size // stride) - 1) * stride + kernel - size, 0) for size in images.shape[2:]
        )
        edges = (width // 2, width - width // 2, height // 2, height - height // 2)
        return conv2d(pad(images, edges), self.weight, self.bias, stride, 0, 1, self.groups)


class InvertedBlock(nn.Module):
    """1x1 to more channels, a depthwise convolution, 1x1 to fewer; beside a skip connection where
    the shape stays.
    """

    def __init__(self, in_channels: int, channels: int, kernel: int, stride: int, expansion: int):
        super().__init__()
        inner = in_channels * expansion
        if expansion > 1:
            self._expand_conv = SameConv2d(in_channels, inner, 1, bias=False)
            self._bn0 = nn.BatchNorm2d(inner, _EPSILON)
        self._depthwise_conv = SameConv2d(inner, inner, kernel, stride, groups=inner, bias=False)
        self._bn1 = nn.BatchNorm2d(inner, _EPSILON)
        self._project_conv = SameConv2d(inner, channels, 1, bias=False)
        self._bn2 = nn.BatchNorm2d(channels, _EPSILON)
        self._expands, self._stays = expansion > 1, stride == 1 and in_channels == channels

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(V, C, h, w) -> (V, C', h', w')."""
        inner = x
        if self._expands:
            inner = nn.functional.relu6(self._bn0(self._expand_conv(x)))
        inner = nn.functional.relu6(self._bn1(self._depthwise_conv(inner)))
        inner = self._bn2(self._project_conv(inner))
        return inner + x if self._stays else inner


class EfficientNetLite(nn.Module):
    """Images -> feature maps of three scales.

    Attributes:
        channels: of the maps.
    """

    def __init__(self):
        super().__init__()
        self.channels = CHANNELS
        self._conv_stem = SameConv2d(3, STEM, 3, 2, bias=False)
        self._bn0 = nn.BatchNorm2d(STEM, _EPSILON)
        blocks, width = [], STEM
        for count, kernel, stride, expansion, channels in STAGES:
            for number in range(count):
                step = stride if number == 0 else 1
                blocks.append(InvertedBlock(width, channels, kernel, step, expansion))
                width = channels
        self._blocks = nn.ModuleList(blocks)

    def forward(self, images: torch.Tensor) -> list:
        """(V, 3, H, W), normalised as `views` does -> three maps (V, channels[i], h_i, w_i) at a
        quarter, an eighth and a sixteenth of the size, finest first.
        """
        x = nn.functional.relu6(self._bn0(self._conv_stem(as_published(images))))
        maps = []
        for number, block in enumerate(self._blocks):
            x = block(x)
            if number in GIVEN_AFTER:
                maps.append(x)
        return maps
