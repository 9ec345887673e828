"""The sparse U-Net with a point branch (SPVCNN of Tang et al., ECCV 2020, in U2MKD's widths): LiDAR
alone, a decision for each of the finest voxels.

U2MKD keeps one point of every finest voxel and works on these representatives; here the finest
voxels themselves stand for their points. From coarser voxels they take the features of the voxel
they lie in (the published form interpolates between eight, which on a CPU would cost as much as
half of the network).
"""

from collections.abc import Sequence

import torch
from torch import nn

from cmdfusion_ros.batch import Batch
from cmdfusion_ros.models.output import Output, ScaleFeatures
from cmdfusion_ros.models.row_norm import RowNorm
from cmdfusion_ros.models.spv_encoder import PointEmbedding, mean_over_points
from cmdfusion_ros.models.window_attention import WindowAttention
from cmdfusion_ros.sparse.conv import StridedConv, SubmanifoldConv, TransposedConv
from cmdfusion_ros.sparse.tensor import SparseTensor

DOWN_WIDTHS = (1, 2, 4, 8)  # of the encoder's stages, in multiples of the stem's
UP_WIDTHS = (8, 4, 3, 3)  # of the decoder's
STRIDES = (1, 2, 4, 8, 16)
WIDTHS = {  # of the stages of encoder and decoder, in multiples of the stem's
    "paper": (DOWN_WIDTHS, UP_WIDTHS),
    "slim": ((1, 2, 4, 6), (6, 4, 2, 2)),  # the finest stage of the decoder costs most on a CPU
}
# of each stage: edge of the cubes in finest voxels, of the cones in degrees (U2MKD, SphereFormer)
ATTENTION_WINDOWS = ((6, 2.0), (12, 4.0), (24, 8.0), (48, 16.0))


class ConvNormRelu(nn.Module):
    """A sparse convolution, batch normalisation and ReLU."""

    def __init__(self, convolution: nn.Module):
        super().__init__()
        self.convolution = convolution
        self.norm = RowNorm(convolution.out_channels)

    def forward(self, x: SparseTensor) -> SparseTensor:
        """SparseTensor -> SparseTensor on the convolution's output voxels."""
        x = self.convolution(x)
        return x.with_features(self.norm(x.features).relu())


class UnetBlock(nn.Module):
    """Two submanifold 3x3x3 convolutions beside a skip connection, which is a 1x1x1 convolution
    where the width changes.
    """

    def __init__(self, in_channels: int, channels: int):
        super().__init__()
        self.first = ConvNormRelu(SubmanifoldConv(in_channels, channels))
        self.second = SubmanifoldConv(channels, channels)
        self.second_norm = RowNorm(channels)
        widen = nn.Linear(in_channels, channels, bias=False)
        self.skip = (
            nn.Identity() if in_channels == channels else nn.Sequential(widen, RowNorm(channels))
        )

    def forward(self, x: SparseTensor) -> SparseTensor:
        """SparseTensor (V, C) -> SparseTensor (V, C')."""
        inner = self.second_norm(self.second(self.first(x)).features)
        return x.with_features((inner + self.skip(x.features)).relu())


class DownStage(nn.Module):
    """Voxels twice as large, then two blocks, then attention where there is any."""

    def __init__(self, in_channels: int, channels: int, attention: nn.Module | None = None):
        super().__init__()
        self.down = ConvNormRelu(StridedConv(in_channels, in_channels))
        self.blocks = nn.Sequential(UnetBlock(in_channels, channels), UnetBlock(channels, channels))
        self.attention = attention or nn.Identity()

    def forward(self, x: SparseTensor) -> SparseTensor:
        """SparseTensor of stride s, (V, C) -> SparseTensor of stride 2 s, (V', C')."""
        return self.attention(self.blocks(self.down(x)))


class UpStage(nn.Module):
    """Voxels half as large, the encoder's features beside them, then two blocks."""

    def __init__(self, in_channels: int, skip_channels: int, channels: int):
        super().__init__()
        self.up = ConvNormRelu(TransposedConv(in_channels, channels))
        self.blocks = nn.Sequential(
            UnetBlock(channels + skip_channels, channels), UnetBlock(channels, channels)
        )

    def forward(self, x: SparseTensor, skip: SparseTensor) -> SparseTensor:
        """SparseTensor of stride 2 s and the encoder's of stride s -> SparseTensor of stride s."""
        x = self.up(x)
        return self.blocks(x.with_features(torch.cat([x.features, skip.features], 1)))


class SpvUnet(nn.Module):
    """Encoder and decoder of four stages and a point branch past the coarse ones (SPVCNN, Tang
    et al., ECCV 2020: U2MKD's 3D backbone).

    Args:
        channels: C, width of the stem. 32 in U2MKD.
        widths: of the other stages, a key of WIDTHS.
        scaled: see PointEmbedding.
        num_classes: columns of the logits.
        attention_voxel_size: edge of the finest voxel, metres, for WindowAttention after each stage
            of the encoder; None = no attention.
    """

    def __init__(
        self,
        channels: int,
        num_classes: int,
        attention_voxel_size: float | None = None,
        widths: str = "paper",
        scaled: bool = True,
    ):
        super().__init__()
        down, up = ([channels * factor for factor in factors] for factors in WIDTHS[widths])
        self.embedding = PointEmbedding(channels, scaled)
        self.stem = nn.Sequential(
            ConvNormRelu(SubmanifoldConv(channels, channels)),
            ConvNormRelu(SubmanifoldConv(channels, channels)),
        )
        windows = ATTENTION_WINDOWS if attention_voxel_size else [None] * len(down)
        attentions = [
            WindowAttention(
                width, attention_voxel_size, window[0] * attention_voxel_size, window[1]
            )
            if window
            else None
            for width, window in zip(down, windows, strict=True)
        ]
        self.down = nn.ModuleList(
            DownStage(a, b, attention)
            for a, b, attention in zip([channels, *down[:-1]], down, attentions, strict=True)
        )
        skips = [channels, *down[:-1]][::-1]
        self.up = nn.ModuleList(
            UpStage(a, skip, b) for a, skip, b in zip([down[-1], *up], skips, up, strict=False)
        )
        points = [channels, down[3], up[1], up[3]]
        self.of_points = nn.ModuleList(
            nn.Sequential(nn.Linear(a, b), RowNorm(b), nn.ReLU())
            for a, b in zip(points, points[1:], strict=False)
        )
        self.head = nn.Linear(up[3], num_classes)

    def forward(self, batch: Batch) -> Output:
        """Batch -> Output, with `deep` and `taps`."""
        encoded = self.encode(batch)
        last = self.decode(encoded, batch)
        return Output(
            self.head(last),
            batch.scale(1).point_to_voxel,
            deep=ScaleFeatures(encoded[-1].stride, encoded[-1].features),
            taps=taps_of(encoded, last),
        )

    def encode(self, batch: Batch) -> list[SparseTensor]:
        """SparseTensors of STRIDES."""
        encoded = [self.stem(self.embedding(batch))]
        for stage in self.down:
            encoded.append(stage(encoded[-1]))
        return encoded

    def decode(self, encoded: Sequence[SparseTensor], batch: Batch) -> torch.Tensor:
        """SparseTensors of STRIDES -> (V_1, D) features on the finest voxels, for the head."""
        finest, x = encoded[0], encoded[4]
        points = _spread(x, batch) + self.of_points[0](finest.features)
        x = x.with_features(_mean(points, x.stride, batch))
        x = self.up[1](self.up[0](x, encoded[3]), encoded[2])
        points = _spread(x, batch) + self.of_points[1](points)
        x = x.with_features(_mean(points, x.stride, batch))
        x = self.up[3](self.up[2](x, encoded[1]), encoded[0])
        return x.features + self.of_points[2](points)


def taps_of(encoded: Sequence[SparseTensor], last: torch.Tensor) -> tuple[ScaleFeatures, ...]:
    """`Output.taps` of SparseTensors of STRIDES and what `decode` makes of them."""
    return ScaleFeatures(encoded[1].stride, encoded[1].features), ScaleFeatures(1, last)


def _spread(x, batch):
    """Features of coarse voxels (V, C) -> (V_1, C) of the finest voxels in them."""
    return x.features.index_select(0, batch.maps.coarsen(1, x.stride))


def _mean(features, stride, batch):
    """(V_1, C) -> (V, C), the mean over the points of each voxel of `stride`."""
    return mean_over_points(features, batch.maps, batch.scale(1), batch.scale(stride))
