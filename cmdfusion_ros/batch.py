"""Frames -> Batch: the door from numpy to torch. Points are put into the voxels of every scale, and frames are stacked."""

from dataclasses import dataclass

import numpy as np
import torch

MAX_INDEX = 2**19  # voxel indices lie in [-MAX_INDEX, MAX_INDEX): 20 bits an axis, +-52 km at 0.1 m


@dataclass(frozen=True)
class Scale:
    """One resolution level of a Batch.

    Attributes:
        stride: edge of its voxels in finest voxels.
        voxel_coords: (V, 4) int32 rows (batch, x, y, z), unique and sorted lexicographically; x, y, z = floor(p / (voxel_size * stride)).
        point_to_voxel: (N,) int64, for each point its voxel's row.
        num_points: (V,) float32, how many points each voxel holds, at least 1.
        parent: (V,) int64, for each voxel the row of the voxel around it at the next coarser scale; None at the coarsest.
    """

    stride: int
    voxel_coords: torch.Tensor
    point_to_voxel: torch.Tensor
    num_points: torch.Tensor
    parent: torch.Tensor | None


@dataclass(frozen=True)
class Batch:
    """The points of one or more Frames as tensors on one device, and the voxels they lie in.

    Attributes:
        points: (N, 3) float32, metres, LiDAR frame; the points of all frames in order.
        intensity: (N,) float32 in [0, 1].
        frame_index: (N,) int64, which frame a point comes from; ascending.
        num_frames: number of frames, empty ones included.
        voxel_size: edge of the finest voxel, metres.
        scales: tuple of Scale, finest first.
        labels: (N,) int64, labels or IGNORE_LABEL; None where a frame has none.
        views: the CameraViews of each frame: a tuple of tuples, still numpy.
    """

    points: torch.Tensor
    intensity: torch.Tensor
    frame_index: torch.Tensor
    num_frames: int
    voxel_size: float
    scales: tuple
    labels: torch.Tensor | None = None
    views: tuple = ()

    def scale(self, stride):
        """The Scale with this stride; ValueError with the known ones otherwise."""
        for scale in self.scales:
            if scale.stride == stride:
                return scale
        raise ValueError(f"batch: no scale of stride {stride}; it was made with {[scale.stride for scale in self.scales]}")


def make_batch(frames, grid, device="cpu"):
    """Stack Frames and put their points into the voxels of a grid.

    Args:
        frames: one or more Frames; a frame without points adds no voxels.
        grid: a VoxelGrid.
        device: where the tensors go.

    Returns:
        a Batch. `labels` is None unless every frame has labels.

    Raises:
        ValueError: no frames, or a point further out than the indices reach.
    """
    frames = list(frames)
    if not frames:
        raise ValueError("make_batch: expected at least one frame, got none")
    counts = [frame.num_points for frame in frames]
    pyramids = [_voxelise(frame, grid) for frame in frames]
    starts = [np.cumsum([0] + [len(pyramid[i][0]) for pyramid in pyramids])[:-1] for i in range(len(grid.strides))]
    scales = tuple(
        _stack([pyramid[i] for pyramid in pyramids], stride, starts[i], starts[min(i + 1, len(starts) - 1)], device) for i, stride in enumerate(grid.strides)
    )
    labelled = all(frame.labels is not None for frame in frames)

    def tensor(array):
        return torch.from_numpy(np.ascontiguousarray(array)).to(device)

    return Batch(
        points=tensor(np.concatenate([frame.points for frame in frames])),
        intensity=tensor(np.concatenate([frame.intensity for frame in frames])),
        frame_index=tensor(np.repeat(np.arange(len(frames)), counts)),
        num_frames=len(frames),
        voxel_size=grid.voxel_size,
        scales=scales,
        labels=tensor(np.concatenate([frame.labels for frame in frames]).astype(np.int64)) if labelled else None,
        views=tuple(tuple(frame.views) for frame in frames),
    )


def _voxelise(frame, grid):
    """One frame's points in the voxels of each scale: a list of (coords (V, 3), point_to_voxel (N,), parent (V,) or None), finest first."""
    indices = np.floor(frame.points.astype(np.float64) / grid.voxel_size)
    if len(indices) and not (indices.min() >= -MAX_INDEX and indices.max() < MAX_INDEX):
        reach = grid.voxel_size * MAX_INDEX
        raise ValueError(f"frame {frame.name}: expected points within {reach:.0f} m of the origin, got {np.abs(frame.points).max():.0f} m")
    coords, point_to_voxel = _unique_rows(indices.astype(np.int64))
    levels = []
    for stride, coarser in _with_next(grid.strides):
        if coarser is None:
            levels.append((coords, point_to_voxel, None))
            break
        parent_coords, parent = _unique_rows(coords // (coarser // stride))
        levels.append((coords, point_to_voxel, parent))
        coords, point_to_voxel = parent_coords, parent[point_to_voxel]
    return levels


def _unique_rows(coords):
    """(N, 3) integers -> the unique rows, sorted lexicographically, and for each row of `coords` its place among them."""
    if not len(coords):
        return np.zeros((0, 3), np.int64), np.zeros(0, np.int64)
    shifted = coords + MAX_INDEX
    keys, index = np.unique((shifted[:, 0] << 40) | (shifted[:, 1] << 20) | shifted[:, 2], return_inverse=True)
    mask = (1 << 20) - 1
    return np.stack([keys >> 40, keys >> 20 & mask, keys & mask], 1) - MAX_INDEX, index.reshape(-1)


def _stack(levels, stride, starts, parent_starts, device):
    """The Scale of all frames from the levels of each; `starts` are the rows at which each frame's voxels begin, at this scale and the next."""
    voxel_coords = [np.column_stack([np.full(len(coords), frame), coords]) for frame, (coords, _, _) in enumerate(levels)]
    point_to_voxel = np.concatenate([index + start for (_, index, _), start in zip(levels, starts, strict=True)])
    parent = None if levels[0][2] is None else np.concatenate([index + start for (_, _, index), start in zip(levels, parent_starts, strict=True)])
    num_voxels = sum(len(coords) for coords, _, _ in levels)
    return Scale(
        stride=stride,
        voxel_coords=torch.from_numpy(np.concatenate(voxel_coords).astype(np.int32)).to(device),
        point_to_voxel=torch.from_numpy(point_to_voxel).to(device),
        num_points=torch.from_numpy(np.bincount(point_to_voxel, minlength=num_voxels).astype(np.float32)).to(device),
        parent=None if parent is None else torch.from_numpy(parent).to(device),
    )


def _with_next(items):
    """(item, the one after it) for each item; None after the last."""
    return list(zip(items, [*items[1:], None], strict=True))
