"""The sparse point-voxel encoder of CMDFusion (its "SPVCNN", the 2DPASS baseline): voxels in,
features of every coarser scale out.

One class, so that CMDFusion can run two of them (LiDAR branch, knowledge branch) on one
`PointEmbedding`.

The published form works on points: it gathers voxel features to points, transforms them, and
averages them into the next scale. Here scales nest, so all points of a voxel carry the same
features, and the same sums are formed on voxels, each weighted by its number of points. A linear
layer before an average is applied after it, where rows are fewer. Both rewritings are exact.
"""

import torch
from torch import nn

from cmdfusion_ros.batch import Batch, Scale
from cmdfusion_ros.models.row_norm import RowNorm
from cmdfusion_ros.sparse.conv import SubmanifoldConv
from cmdfusion_ros.sparse.scatter import scatter_mean, scatter_sum
from cmdfusion_ros.sparse.tensor import KernelMaps, SparseTensor

# x, y, z in metres, intensity and rank (`intensity.scaled_intensity`), two offsets in metres: what
# brings each to about unit size on street scans with voxels of 0.05 to 0.15 m
INPUT_SCALES = (1 / 15, 1 / 15, 1 / 2, 1.0, 1.0, *[25.0] * 6)
SLOPE = 0.1  # of every LeakyReLU


class PointEmbedding(nn.Module):
    """Points -> features of the finest voxels.

    Each point gives x, y, z (metres), its intensity and the rank of it, its offset from the mean of
    its voxel's points and its offset from its voxel's lower corner (metres). An MLP 11 -> C -> C
    lifts them, and a voxel takes the mean of its points.

    Args:
        channels: C.
        scaled: bring every input to about unit size first, without which metres drown the
            intensity (docs/decisions.md, 2026-11-26). False: metres and the plain intensity, ten
            numbers, as the authors' released networks read them.
    """

    def __init__(self, channels: int, scaled: bool = True):
        super().__init__()
        self.lift = nn.Linear(len(INPUT_SCALES) if scaled else 10, channels)
        self.register_buffer("scales", torch.tensor(INPUT_SCALES) if scaled else None)
        self.mix = nn.Linear(channels, channels)  # after the mean, with which it commutes

    def forward(self, batch: Batch) -> SparseTensor:
        """Batch -> SparseTensor on the voxels of stride 1, (V, C)."""
        scale = batch.scale(1)
        num_voxels = len(scale.voxel_coords)
        means = scatter_mean(batch.points, scale.point_to_voxel, num_voxels)
        corners = scale.voxel_coords[:, 1:] * batch.voxel_size
        anchors = torch.cat([means, corners], 1).index_select(0, scale.point_to_voxel)  # (N, 6)
        intensity = batch.intensity[:, None] if self.scales is None else batch.scaled_intensity
        from_mean, from_corner = batch.points - anchors[:, :3], batch.points - anchors[:, 3:]
        inputs = torch.cat([batch.points, intensity, from_mean, from_corner], 1)  # (N, 10 or 11)
        if self.scales is not None:
            inputs = inputs * self.scales
        lifted = torch.relu(self.lift(inputs))
        features = self.mix(scatter_mean(lifted, scale.point_to_voxel, num_voxels))
        return SparseTensor(features, scale.voxel_coords, 1, batch.maps)


class ResidualBlock(nn.Module):
    """Two submanifold 3x3x3 convolutions beside a 1x1x1 one; every voxel stays."""

    def __init__(self, channels: int):
        super().__init__()
        self.skip = SubmanifoldConv(channels, channels, kernel_size=1)
        self.skip_norm = RowNorm(channels)
        self.first = SubmanifoldConv(channels, channels)
        self.first_norm = RowNorm(channels)
        self.second = SubmanifoldConv(channels, channels)
        self.second_norm = RowNorm(channels)

    def forward(self, x: SparseTensor) -> SparseTensor:
        """SparseTensor (V, C) -> SparseTensor (V, C)."""
        skip = self.skip_norm(self.skip(x).features)
        inner = x.with_features(_leaky(self.first_norm(self.first(x).features)))
        return x.with_features(_leaky(self.second_norm(self.second(inner).features) + skip))


class Context(nn.Module):
    """What the surroundings of a voxel say: the mean of a 2x2x2 group of voxels, through an MLP
    C -> C/2 -> C/2 -> C.
    """

    def __init__(self, channels: int):
        super().__init__()
        half = channels // 2
        self.mlp = nn.Sequential(
            nn.Linear(channels, half),
            nn.LeakyReLU(SLOPE),
            RowNorm(half),
            nn.Linear(half, half),
            nn.LeakyReLU(SLOPE),
            RowNorm(half),
            nn.Linear(half, channels),
            nn.LeakyReLU(SLOPE),
        )

    def forward(self, x: SparseTensor) -> tuple[torch.Tensor, torch.Tensor]:
        """SparseTensor (V, C) -> the groups' features (G, C), and for each voxel its group (V,)."""
        groups = x.maps.coarsen(x.stride, 2)
        pooled = scatter_mean(x.features, groups, len(x.maps.voxel_coords(2 * x.stride)))
        return self.mlp(pooled), groups


class SpvBlock(nn.Module):
    """One step of the encoder, from voxels of one scale to those of the next (the encoder
    that CMDFusion takes from 2DPASS, Yan et al., ECCV 2022).
    """

    def __init__(self, channels: int):
        super().__init__()
        self.voxel_path = nn.Sequential(ResidualBlock(channels), ResidualBlock(channels))
        self.identity = nn.Linear(channels, channels)
        self.context = Context(channels)
        self.join_identity = nn.Linear(channels, channels)
        # the other half of one layer 2C -> C, applied to groups before they are spread
        self.join_context = nn.Linear(channels, channels, bias=False)
        # after the mean over points, with which it commutes
        self.out = nn.Linear(channels, channels)

    def forward(
        self, x: SparseTensor, scale: Scale, next_scale: Scale
    ) -> tuple[SparseTensor, torch.Tensor]:
        """
        Args:
            x: SparseTensor (V, C) on `scale`.
            scale, next_scale: Scales of the batch, of the same stride or the second a multiple of
                the first.

        Returns:
            SparseTensor (V', C) on `next_scale`, the input of the next block, and the features (V',
            C) of this block there; the paper's z_i is their gather to points.
        """
        voxel = self.voxel_path(x)
        both = x.with_features(x.features + voxel.features)
        context, groups = self.context(both)
        joined = self.join_identity(_leaky(self.identity(both.features))) + self.join_context(
            context
        ).index_select(0, groups)
        joined = _leaky(joined)
        joined, voxel_mean = mean_over_points(
            torch.cat([joined, voxel.features], 1), x.maps, scale, next_scale
        ).chunk(2, 1)
        features = self.out(joined)
        return SparseTensor(
            features + voxel_mean, next_scale.voxel_coords, next_scale.stride, x.maps
        ), features


def mean_over_points(
    features: torch.Tensor, maps: KernelMaps, scale: Scale, next_scale: Scale
) -> torch.Tensor:
    """Voxel features (V, C) of one scale -> (V', C) of a coarser one: the mean over the points
    in each voxel, every point having its voxel's features.
    """
    if next_scale.stride == scale.stride:
        return features
    parents = maps.coarsen(scale.stride, next_scale.stride // scale.stride)
    share = scale.num_points / next_scale.num_points[parents]
    return scatter_sum(features * share[:, None], parents, len(next_scale.voxel_coords))


class SpvEncoder(nn.Module):
    """The chain of SpvBlocks.

    Args:
        channels: C, width of every layer.
        strides: scales; block i goes from strides[i] to strides[i + 1], which is a multiple of it
            (or the same).
    """

    def __init__(self, channels: int, strides: tuple[int, ...]):
        super().__init__()
        self.strides = tuple(strides)
        self.blocks = nn.ModuleList(SpvBlock(channels) for _ in self.strides[1:])

    def forward(self, embedded: SparseTensor, batch: Batch) -> list[torch.Tensor]:
        """
        Args:
            embedded: SparseTensor (V, C) on stride 1, from a PointEmbedding.
            batch: the Batch it was made from, with all `strides`.

        Returns:
            list of voxel features, item i (V_i, C) on the voxels of strides[i + 1]. To points:
            `features[batch.scale(stride).point_to_voxel]`.
        """
        x, outputs = embedded, []
        for block, stride, next_stride in zip(
            self.blocks, self.strides, self.strides[1:], strict=False
        ):
            x, features = block(x, batch.scale(stride), batch.scale(next_stride))
            outputs.append(features)
        return outputs


def _leaky(features):
    return nn.functional.leaky_relu(features, SLOPE)
