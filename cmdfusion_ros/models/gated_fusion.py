"""Gated fusion: features of one kind take from features of another what a learned gate lets
through.
"""

import torch
from torch import nn

from cmdfusion_ros.models.row_norm import RowNorm
from cmdfusion_ros.sparse.scatter import scatter_sum


def frame_means(
    features: torch.Tensor, frame_index: torch.Tensor, num_points: torch.Tensor, num_frames: int
) -> torch.Tensor:
    """The mean over the points of each frame, every point having its voxel's features.

    The mean is that of one frame, not of the batch (the released CMDFusion takes the batch's), so
    that a frame's result does not depend on its company.

    Args:
        features: (V, C) float.
        frame_index: (V,) int64, frame of each voxel.
        num_points: (V,) float, points of each voxel.
        num_frames: B; a frame without points gets zeros.

    Returns:
        (B, C).
    """
    weights = num_points[:, None].float()  # half a frame is more than 16 bits can count
    sums = scatter_sum(torch.cat([features * weights, weights], 1), frame_index, num_frames)
    return (sums[:, :-1] / sums[:, -1:].clamp(min=1)).to(features.dtype)


class GatedFusion(nn.Module):
    """target + relu(h * gate) with h = W2 [target, relu(W1 source)] and gate = sigmoid(W3 [h, mean
    of h over the frame]): a gate a channel (CMDFusion, bidirectional fusion block).

    One instance for each direction and scale: target and source change places, weights are not
    shared.

    Args:
        channels: C, of both.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.message = nn.Linear(channels, channels)
        self.join = nn.Linear(2 * channels, channels)
        self.gate = nn.Linear(2 * channels, channels)

    def forward(
        self,
        target: torch.Tensor,
        source: torch.Tensor,
        frame_index: torch.Tensor,
        num_points: torch.Tensor,
        num_frames: int,
    ) -> torch.Tensor:
        """
        Args:
            target, source: (V, C) float, on the same voxels.
            frame_index, num_points, num_frames: see `frame_means`.

        Returns:
            (V, C), what `target` has become.
        """
        joined = self.join(torch.cat([target, torch.relu(self.message(source))], 1))
        # the half for the mean is applied to B rows instead of V
        own, of_mean = self.gate.weight.chunk(2, 1)
        mean = frame_means(joined, frame_index, num_points, num_frames) @ of_mean.T + self.gate.bias
        gate = torch.sigmoid(joined @ own.T + mean.index_select(0, frame_index))
        return target + torch.relu(joined * gate)


class ScalarGatedFusion(nn.Module):
    """U2MKD's gate from camera to LiDAR, one number a row: W [target, g relu(norm(W' source))] + b,
    g = sigmoid(w tanh(W1 relu(norm(source)) + W2 target)).

    W starts as [identity, 0], so that a network that was trained without images is not scrambled
    by the joins put into it. The paper has a normalisation and a ReLU behind W, which no weights
    make an identity. One instance for each direction and stage:
    into voxels, and into pixels as rows.

    Args:
        target_channels, source_channels: of the two inputs; the result is as wide as the target.
    """

    def __init__(self, target_channels: int, source_channels: int):
        super().__init__()
        hidden = max(1, target_channels // 4)
        self.source_norm = RowNorm(source_channels)
        self.of_source = nn.Linear(source_channels, hidden)
        self.of_target = nn.Linear(target_channels, hidden)
        self.gate = nn.Linear(hidden, 1)
        self.message = nn.Sequential(
            nn.Linear(source_channels, target_channels, bias=False),
            RowNorm(target_channels),
            nn.ReLU(),
        )
        self.join = nn.Linear(2 * target_channels, target_channels)
        with torch.no_grad():
            own, of_message = self.join.weight.chunk(2, 1)
            own.copy_(torch.eye(target_channels))
            of_message.zero_()
            self.join.bias.zero_()

    def forward(self, target: torch.Tensor, source: torch.Tensor) -> torch.Tensor:
        """(N, Ct), (N, Cs) -> (N, Ct)."""
        gate = torch.sigmoid(
            self.gate(
                torch.tanh(
                    self.of_source(torch.relu(self.source_norm(source))) + self.of_target(target)
                )
            )
        )
        return self.join(torch.cat([target, gate * self.message(source)], 1))
