"""Imputation: image features for points that no image sees."""

from torch import nn


class Imputer(nn.Module):
    """Guesses from a point's own features what an image would say of it (U2MKD's learner, methods C.1).

    Args:
        channels: of the point features.
        pixel_channels: of the image features.
    """

    def __init__(self, channels, pixel_channels):
        super().__init__()
        self.guess = nn.Sequential(
            nn.Linear(channels, pixel_channels),
            nn.BatchNorm1d(pixel_channels),
            nn.ReLU(),
            nn.Linear(pixel_channels, pixel_channels),
            nn.BatchNorm1d(pixel_channels),
        )

    def forward(self, point_features):
        """(N, C) -> (N, pixel_channels), a guess for every point; those that an image sees learn from it."""
        return self.guess(point_features)


def impute(guessed, pixel_features, point_rows):
    """Image features of every point: those of its pixel where an image sees it, the guess elsewhere.

    Args:
        guessed: (N, C) float.
        pixel_features: (M, C) float, of the points that an image sees.
        point_rows: (M,) int64, which points those are, each at most once.

    Returns:
        (N, C).
    """
    return guessed.index_copy(0, point_rows, pixel_features.to(guessed.dtype))


def impute_voxels(guessed, pixel_features, point_rows, scale):
    """`impute` for features on voxels: the mean over the points of each voxel, those that an image sees having its features and the others the guess.

    Args:
        guessed: (V, C) float.
        pixel_features, point_rows: as for `impute`.
        scale: the Scale of these voxels.

    Returns:
        (V, C).
    """
    voxels = scale.point_to_voxel.index_select(0, point_rows)
    difference = (pixel_features - guessed.index_select(0, voxels)) / scale.num_points.index_select(0, voxels)[:, None]
    return guessed.index_add(0, voxels, difference.to(guessed.dtype))
