"""Attention among the voxels of a window: half of the heads see cubes, half cones from the sensor
outward (after SphereFormer, Lai et al., CVPR 2023, which U2MKD builds on).

A cone is a few degrees wide and as long as the scan, so that a far voxel with few neighbours sees
what lies before it. Windows hold few or many voxels: they are cut into tiles of at most the last of
TILES, and tiles are padded to the next of them, so that any attention of torch does it. Where the
published form adds learned vectors of the relative position to queries, keys and values, here a
learned number a head is added to each pair's weight.
"""

import math

import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention

from cmdfusion_ros.sparse.tensor import SparseTensor

TILES = (4, 16, 64)  # voxels that attend to one another
BINS = 24  # of a window's extent, for relative positions
# metres: shortest difference of range that is told from none; from there two bins an octave
NEAR = 0.0125


class WindowAttention(nn.Module):
    """A block of attention and a perceptron, each beside a skip connection.

    Args:
        channels: of its voxels; an even number.
        voxel_size: edge of the finest voxel, metres.
        cube: edge of the cubes, metres.
        degrees: width of the cones, in azimuth and elevation.
    """

    def __init__(self, channels: int, voxel_size: float, cube: float, degrees: tuple[float, float]):
        super().__init__()
        self.voxel_size, self.cube, self.cone = voxel_size, cube, math.radians(degrees)
        self.heads = _heads(channels)
        self.before, self.between = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.inward, self.outward = nn.Linear(channels, 3 * channels), nn.Linear(channels, channels)
        self.of_cubes, self.of_cones = (
            nn.Parameter(torch.zeros(3, 2 * BINS - 1, self.heads // 2)) for _ in range(2)
        )
        self.perceptron = nn.Sequential(
            nn.Linear(channels, 4 * channels), nn.GELU(), nn.Linear(4 * channels, channels)
        )

    def forward(self, x: SparseTensor) -> SparseTensor:
        """SparseTensor (V, C) -> SparseTensor (V, C)."""
        features = x.features
        frames, places = (
            x.voxel_coords[:, 0].long(),
            (x.voxel_coords[:, 1:] + 0.5) * (self.voxel_size * x.stride),
        )
        queries = self.inward(self.before(features)).reshape(
            len(features), 3, self.heads, features.shape[1] // self.heads
        )
        half = self.heads // 2
        in_cubes = _attend(queries[:, :, :half], frames, places, _Cubes(self.cube), self.of_cubes)
        in_cones = _attend(queries[:, :, half:], frames, places, _Cones(self.cone), self.of_cones)
        features = features + self.outward(torch.cat([in_cubes, in_cones], 1))
        return x.with_features(features + self.perceptron(self.between(features)))


def _heads(channels):
    """The even number of heads, of 16 channels or little more, that divides the channels."""
    return next(
        heads
        for heads in range(max(2, channels // 16), 1, -1)
        if heads % 2 == 0 and channels % heads == 0
    )


class _Cubes:
    """Windows of equal edges."""

    def __init__(self, edge):
        self.edge = edge

    def windows(self, places):
        """(V, 3) -> (V, 3) int64 windows, (V,) order within one, (V, 3) what relative positions
        are taken of.
        """
        return torch.floor(places / self.edge).long(), places[:, 0], places

    def bins(self, differences):
        """(..., 3) -> (..., 3) float, in bins."""
        return differences * (BINS / self.edge)


class _Cones:
    """Windows of equal angles at the sensor."""

    def __init__(self, angle):
        self.angle = angle

    def windows(self, places):
        """See `_Cubes`."""
        ground = places[:, :2].norm(dim=1)
        azimuth, elevation = (
            torch.atan2(places[:, 1], places[:, 0]),
            torch.atan2(places[:, 2], ground),
        )
        distance = places.norm(dim=1)
        angles = torch.floor(torch.stack([azimuth, elevation], 1) / self.angle).long()
        return (
            torch.cat([angles, torch.zeros_like(angles[:, :1])], 1),
            distance,
            torch.stack([azimuth, elevation, distance], 1),
        )

    def bins(self, differences):
        """See `_Cubes`; range in half octaves."""
        angles, distance = differences[..., :2] * (BINS / self.angle), differences[..., 2:]
        return torch.cat(
            [
                angles,
                distance.sign()
                * torch.floor(2 * torch.log2(distance.abs().clamp(min=NEAR) / NEAR)),
            ],
            -1,
        )


def _attend(queries, frames, places, shape, table):
    """Attention within windows.

    Args:
        queries: (V, 3, H, D), queries, keys and values.
        frames: (V,) int64. places: (V, 3) metres.
        shape: _Cubes or _Cones. table: (3, 2 BINS - 1, H).

    Returns:
        (V, H D).
    """
    windows, within, position = shape.windows(places)
    order = torch.argsort(within, stable=True)
    for key in (*windows.T, frames):
        order = order[torch.argsort(key[order], stable=True)]
    keys = torch.cat([frames[:, None], windows], 1)[order]
    starts = torch.ones(len(order), dtype=torch.bool, device=order.device)
    starts[1:] = (keys[1:] != keys[:-1]).any(1)
    rank = torch.arange(len(order), device=order.device)
    rank = (rank - torch.cummax(torch.where(starts, rank, 0), 0).values) % TILES[-1]
    tile = (rank == 0).cumsum(0) - 1
    counts = torch.bincount(tile)
    answer = torch.zeros_like(queries[:, 0].flatten(1))
    for smaller, size in zip((0, *TILES), TILES, strict=False):
        fits = (counts > smaller) & (counts <= size)
        rows = fits[tile].nonzero()[:, 0]
        if len(rows):
            slots = (fits.cumsum(0) - 1)[tile[rows]] * size + rank[rows]
            rows = order[rows]
            answer = answer.index_copy(
                0, rows, _attend_in_tiles(queries[rows], position[rows], slots, size, shape, table)
            )
    return answer


def _attend_in_tiles(queries, position, slots, size, shape, table):
    """`_attend` for voxels (R, ...) that lie in `slots` (R,) of tiles of `size`: -> (R, H D)."""
    tiles = int(slots[-1]) // size + 1

    def padded(values):
        return (
            values.new_zeros(tiles * size, *values.shape[1:])
            .index_copy(0, slots, values)
            .reshape(tiles, size, *values.shape[1:])
        )

    q, k, v = padded(queries).permute(2, 0, 3, 1, 4)  # (T, H, size, D) each
    real, position = padded(torch.ones_like(slots, dtype=torch.bool)), padded(position)
    bins = (
        shape.bins(position[:, :, None] - position[:, None])
        .round()
        .clamp(1 - BINS, BINS - 1)
        .long()
        + BINS
        - 1
    )
    # (T, H, size, size)
    bias = sum(table[axis][bins[..., axis]] for axis in range(3)).permute(0, 3, 1, 2)
    bias = bias.masked_fill(~real[:, None, None, :], float("-inf"))
    return (
        scaled_dot_product_attention(q, k, v, attn_mask=bias)
        .permute(0, 2, 1, 3)
        .reshape(tiles * size, -1)[slots]
    )
