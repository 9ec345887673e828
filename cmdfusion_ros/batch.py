"""Frames -> Batch: the door from numpy to torch. Frames are stacked and their points put into
the voxels of every scale.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from cmdfusion_ros.frame import Frame
from cmdfusion_ros.geometry.voxels import VoxelGrid
from cmdfusion_ros.intensity import scaled_intensity
from cmdfusion_ros.sparse.stages import stage
from cmdfusion_ros.sparse.tensor import KernelMaps
from cmdfusion_ros.sparse.voxelise import voxelise


@dataclass(frozen=True, eq=False)
class Scale:
    """One resolution level of a Batch.

    Attributes:
        stride: edge of its voxels in finest voxels.
        voxel_coords: (V, 4) int32 rows (batch, x, y, z), unique and sorted lexicographically; x, y,
            z = floor(p / (voxel_size * stride)).
        point_to_voxel: (N,) int64, for each point its voxel's row.
        num_points: (V,) float32, points in each voxel; at least 1.
    """

    stride: int
    voxel_coords: torch.Tensor
    point_to_voxel: torch.Tensor
    num_points: torch.Tensor


@dataclass(frozen=True, eq=False)
class Batch:
    """The points of one or more Frames as tensors on one device, and the voxels they lie in.

    Attributes:
        points: (N, 3) float32, metres, LiDAR frame; the points of all frames in order.
        intensity: (N,) float32 in [0, 1].
        scaled_intensity: (N, 2) float32, see `intensity.scaled_intensity`.
        frame_index: (N,) int64, which frame a point comes from; ascending.
        num_frames: number of frames, empty ones included.
        voxel_size: edge of the finest voxel, metres.
        scales: tuple of Scale, finest first.
        maps: KernelMaps on and between the scales, shared by every layer that reads this batch.
        labels: (N,) int64, labels or IGNORE_LABEL; None where a frame has none.
        views: the CameraViews of each frame: a tuple of tuples, still numpy.
        measured_points: (n, 3) float32 numpy of each frame, a tuple: what is projected into its
            views (`Frame.measured_points`).
    """

    points: torch.Tensor
    intensity: torch.Tensor
    scaled_intensity: torch.Tensor
    frame_index: torch.Tensor
    num_frames: int
    voxel_size: float
    scales: tuple
    maps: KernelMaps
    labels: torch.Tensor | None = None
    views: tuple = ()
    measured_points: tuple = ()

    def scale(self, stride: int) -> Scale:
        """The Scale with this stride; ValueError with the known ones otherwise."""
        for scale in self.scales:
            if scale.stride == stride:
                return scale
        raise ValueError(
            f"batch: no scale of stride {stride}; it was made with "
            f"{[scale.stride for scale in self.scales]}"
        )


def make_batch(
    frames: Sequence[Frame], grid: VoxelGrid, device: str | torch.device = "cpu"
) -> Batch:
    """Stack Frames and put their points into the voxels of a grid.

    Args:
        frames: one or more Frames; one without points adds no voxels.
        grid: a VoxelGrid.
        device: where the tensors go.

    Returns:
        a Batch. `labels` is None unless every frame has labels.

    Raises:
        ValueError: no frames, or a point further out than voxel indices reach (kilometres).
    """
    frames = list(frames)
    if not frames:
        raise ValueError("make_batch: expected at least one frame, got none")
    points = np.concatenate([frame.points for frame in frames])
    frame_index = np.repeat(np.arange(len(frames)), [frame.num_points for frame in frames])
    labelled = all(frame.labels is not None for frame in frames)

    def tensor(array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.require(array, requirements=("C", "W"))).to(device)

    with stage("voxelise"):
        (finest,) = voxelise(points, frame_index, grid.voxel_size)
    with stage("nest scales"):
        coords, point_to_voxel = tensor(finest.voxel_coords), tensor(finest.point_to_voxel)
        scales, maps = _nest(coords, point_to_voxel, grid.strides)
    return Batch(
        points=tensor(points),
        intensity=tensor(np.concatenate([frame.intensity for frame in frames])),
        scaled_intensity=tensor(
            np.concatenate(
                [scaled_intensity(frame.intensity, frame.intensity_rank) for frame in frames]
            )
        ),
        frame_index=tensor(frame_index),
        num_frames=len(frames),
        voxel_size=grid.voxel_size,
        scales=scales,
        maps=maps,
        labels=tensor(np.concatenate([frame.labels for frame in frames]).astype(np.int64))
        if labelled
        else None,
        views=tuple(tuple(frame.views) for frame in frames),
        measured_points=tuple(
            frame.points if frame.measured_points is None else frame.measured_points
            for frame in frames
        ),
    )


def _nest(
    voxel_coords: Any, point_to_voxel: Any, strides: tuple[int, ...]
) -> tuple[tuple[Scale, ...], KernelMaps]:
    """The Scales of all strides and the KernelMaps that hold them, from the finest voxels."""
    maps = KernelMaps({1: voxel_coords})
    num_points = torch.bincount(point_to_voxel, minlength=len(voxel_coords)).float()
    scales = [Scale(1, voxel_coords, point_to_voxel, num_points)]
    for stride in strides[1:]:
        finer = scales[-1]
        parents = maps.coarsen(finer.stride, stride // finer.stride)
        coarser_coords = maps.voxel_coords(stride)
        num_points = torch.bincount(
            parents, finer.num_points, minlength=len(coarser_coords)
        ).float()
        scales.append(Scale(stride, coarser_coords, parents[finer.point_to_voxel], num_points))
    return tuple(scales), maps
