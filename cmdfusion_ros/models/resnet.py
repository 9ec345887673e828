"""ResNet-18, -34, -50 and -101 (He et al. 2016; stride on the 3x3 of a bottleneck) without its
classifier.

Tensors are named as torchvision names them, so that published weights load as they are.
"""

import torch
from torch import nn

# blocks in layer1..layer4
DEPTHS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
_WIDTHS = (1, 2, 4, 8)  # of the stages, in multiples of the first's


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a skip connection."""

    expansion = 1

    def __init__(self, in_channels: int, width: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, width, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = _downsample(in_channels, width, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inner = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu_()))
        return (inner + (x if self.downsample is None else self.downsample(x))).relu_()


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 convolutions beside a skip connection."""

    expansion = 4

    def __init__(self, in_channels: int, width: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, width * self.expansion, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(width * self.expansion)
        self.downsample = _downsample(in_channels, width * self.expansion, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inner = self.bn1(self.conv1(x)).relu_()
        inner = self.bn2(self.conv2(inner)).relu_()
        inner = self.bn3(self.conv3(inner))
        return (inner + (x if self.downsample is None else self.downsample(x))).relu_()


def _downsample(in_channels, out_channels, stride):
    if stride == 1 and in_channels == out_channels:
        return None
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 1, stride, bias=False), nn.BatchNorm2d(out_channels)
    )


class ResNet(nn.Module):
    """Images -> feature maps of four scales.

    Args:
        depth: 18, 34, 50 or 101.
        stem_stride: of the first convolution. 2 is what published weights were trained with: maps
            at 1/4, 1/8, 1/16, 1/32 of the image. 1 makes all of them twice as fine (CMDFusion,
            U2MKD) at four times the cost.
        width: channels of the stem and the first stage; published weights have 64.

    Attributes:
        channels: of the four maps.
    """

    def __init__(self, depth: int, stem_stride: int = 2, width: int = 64):
        super().__init__()
        if depth not in DEPTHS:
            raise ValueError(f"depth: expected one of {', '.join(map(str, DEPTHS))}, got {depth}")
        block = BasicBlock if depth < 50 else Bottleneck
        self.channels = tuple(factor * width * block.expansion for factor in _WIDTHS)
        self.conv1 = nn.Conv2d(3, width, 7, stem_stride, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        in_channels = width
        for number, (factor, num_blocks) in enumerate(
            zip(_WIDTHS, DEPTHS[depth], strict=True), start=1
        ):
            blocks = []
            for i in range(num_blocks):
                blocks.append(
                    block(in_channels, factor * width, stride=2 if i == 0 and number > 1 else 1)
                )
                in_channels = factor * width * block.expansion
            setattr(self, f"layer{number}", nn.Sequential(*blocks))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    @property
    def layers(self) -> tuple[nn.Module, nn.Module, nn.Module, nn.Module]:
        """The four stages, each map -> map; `stem` comes before the first."""
        return self.layer1, self.layer2, self.layer3, self.layer4

    def stem(self, images: torch.Tensor) -> torch.Tensor:
        """(V, 3, H, W), normalised as `views` does -> (V, width, h, w), what the first
        stage reads.
        """
        return nn.functional.max_pool2d(
            self.bn1(self.conv1(images)).relu_(), 3, stride=2, padding=1
        )

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        """(V, 3, H, W), normalised as `views` does -> four maps (V, channels[i], h_i, w_i), finest
        first.
        """
        x = self.stem(images)
        maps = []
        for layer in self.layers:
            x = layer(x)
            maps.append(x)
        return maps
