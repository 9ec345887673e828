"""The inference form of a LiteImageEncoder on a CPU: normalisations folded into convolutions, and
pixels as rows of channels, so that a 1x1 convolution is one matrix product and a depthwise one a
compiled pass (`sparse/native_images.py`) with its bias and ReLU6.
"""

import copy

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from cmdfusion_ros.models.efficientnet import InvertedBlock
from cmdfusion_ros.models.unet_flagship import LiteImageEncoder
from cmdfusion_ros.sparse import native_images
from cmdfusion_ros.sparse.native import kernels


def fold_lite_images(encoder: LiteImageEncoder) -> nn.Module:
    """A copy of a LiteImageEncoder that answers one image at a time, (1, 3, H, W), without
    gradient; the same to rounding.
    """
    encoder = copy.deepcopy(encoder).eval().requires_grad_(False)
    backbone = encoder.backbone
    backbone._conv_stem = fuse_conv_bn_eval(backbone._conv_stem, backbone._bn0)
    backbone._bn0 = nn.Identity()
    for number, block in enumerate(backbone._blocks):
        for convolution, norm in (
            ("_expand_conv", "_bn0"),
            ("_depthwise_conv", "_bn1"),
            ("_project_conv", "_bn2"),
        ):
            if hasattr(block, convolution):
                folded = fuse_conv_bn_eval(getattr(block, convolution), getattr(block, norm))
                setattr(block, convolution, folded)
                setattr(block, norm, nn.Identity())
        if kernels() is not None:
            backbone._blocks[number] = _Block(block)
    return encoder.to(memory_format=torch.channels_last)


class _Block(nn.Module):
    """InvertedBlock with folded normalisations."""

    def __init__(self, block: InvertedBlock):
        super().__init__()
        self._expand = _matrix(block._expand_conv) if block._expands else None
        self._project = _matrix(block._project_conv)
        convolution = block._depthwise_conv
        self._weight = convolution.weight[:, 0].permute(1, 2, 0).contiguous()
        self._bias, self._stride = convolution.bias, convolution.stride[0]
        self._stays = block._stays

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(1, C, h, w) -> (1, C', h', w'), both channels_last."""
        compiled = kernels()
        assert compiled is not None
        pixels = inner = x[0].permute(1, 2, 0).contiguous()
        if self._expand is not None:
            inner = _product(inner, *self._expand).clamp_(0, 6)
        inner = native_images.depthwise(compiled, inner, self._weight, self._bias, self._stride)
        inner = _product(inner, *self._project)
        if self._stays:
            inner += pixels
        return inner.permute(2, 0, 1)[None]


def _matrix(convolution):
    """(C_in, C_out), (C_out,) of a 1x1 convolution."""
    return convolution.weight[:, :, 0, 0].T.contiguous(), convolution.bias


def _product(pixels, weight, bias):
    height, width, channels = pixels.shape
    rows = torch.addmm(bias, pixels.view(height * width, channels), weight)
    return rows.view(height, width, -1)
