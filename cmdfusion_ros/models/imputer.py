"""Imputation: image features for points that no image sees."""

import torch
from torch import nn

from cmdfusion_ros.batch import Scale
from cmdfusion_ros.models.row_norm import RowNorm
from cmdfusion_ros.sparse.scatter import scatter_sum


class Imputer(nn.Module):
    """Guesses from a point's own features what an image would say of it (U2MKD's imputation of
    missing image features).

    Args:
        channels: of the point features.
        pixel_channels: of the image features.
    """

    def __init__(self, channels: int, pixel_channels: int):
        super().__init__()
        self.guess = nn.Sequential(
            nn.Linear(channels, pixel_channels),
            RowNorm(pixel_channels),
            nn.ReLU(),
            nn.Linear(pixel_channels, pixel_channels),
            RowNorm(pixel_channels),
        )

    def forward(self, point_features: torch.Tensor) -> torch.Tensor:
        """(N, C) -> (N, pixel_channels), a guess for every point; those that an image sees learn
        from it.
        """
        return self.guess(point_features)


class Trust(nn.Module):
    """How far image features take the place of the guess: a gate a channel, sigmoid(W [guess,
    image]). What a picture says is worth little at night, on a
    covered lens and on a camera unlike those of training; then the guess stays.

    Args:
        channels: C, of both.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.gate = nn.Linear(2 * channels, channels)

    def forward(self, guessed: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
        """(V, C), (V, C) -> (V, C) in (0, 1)."""
        return torch.sigmoid(self.gate(torch.cat([guessed, seen], 1)))


def impute_voxels(
    guessed: torch.Tensor,
    pixel_features: torch.Tensor,
    point_rows: torch.Tensor,
    scale: Scale,
    trust: nn.Module | None = None,
) -> torch.Tensor:
    """Image features of every voxel: the mean over its points, of which those that an image sees
    have its features and the others the guess (U2MKD).

    Args:
        guessed: (V, C) float.
        pixel_features: (M, C) float, of the points that an image sees.
        point_rows: (M,) int64, which points those are, each at most once.
        scale: the Scale of these voxels.
        trust: a Trust: voxels that an image sees go so far from the guess towards that mean; None =
            all the way.

    Returns:
        (V, C).
    """
    voxels = scale.point_to_voxel.index_select(0, point_rows)
    counts = torch.bincount(voxels, minlength=len(guessed))
    rows = counts.nonzero()[:, 0]
    counts = counts[rows, None].to(guessed.dtype)
    seen = scatter_sum(pixel_features.to(guessed.dtype), voxels, len(guessed))[rows] / counts
    own = guessed.index_select(0, rows)
    step = (seen - own) * (counts / scale.num_points[rows, None])
    if trust is not None:
        step = trust(own, seen) * step
    return guessed.index_add(0, rows, step.to(guessed.dtype))
