"""Which point of the student's batch is which of the teacher's: (student_rows (M,), teacher_rows
(M,)) int64, rows of points.
"""

from collections.abc import Sequence

import numpy as np
import torch

from cmdfusion_ros.batch import Batch
from cmdfusion_ros.frame import Frame


def match_origins(
    frames: Sequence[Frame], teacher_frames: Sequence[Frame]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Points with the same row in the scan that both clouds were made of (`Frame.origin`), in
    batches of these frames.

    Raises:
        ValueError: a frame does not know where its points come from.
    """
    parts, first, teacher_first = [], 0, 0
    for frame, teacher_frame in zip(frames, teacher_frames, strict=True):
        for each in (frame, teacher_frame):
            if each.origin is None:
                raise ValueError(
                    f"frame {each.name}: has no origin, by which points of two clouds are matched"
                )
        table = np.full(
            max(frame.origin.max(initial=-1), teacher_frame.origin.max(initial=-1)) + 1, -1
        )
        known = np.flatnonzero(teacher_frame.origin >= 0)
        table[teacher_frame.origin[known]] = known
        rows = np.flatnonzero(frame.origin >= 0)
        teacher_rows = table[frame.origin[rows]]
        rows, teacher_rows = rows[teacher_rows >= 0], teacher_rows[teacher_rows >= 0]
        parts.append((first + rows, teacher_first + teacher_rows))
        first, teacher_first = first + frame.num_points, teacher_first + teacher_frame.num_points
    return tuple(torch.from_numpy(np.concatenate(side)) for side in zip(*parts, strict=True))


def match_voxels(batch: Batch, teacher_batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """For each finest voxel that both batches have, a point in it of either; both batches must
    have one voxel size.
    """
    if batch.voxel_size != teacher_batch.voxel_size:
        raise ValueError(
            f"voxels cannot be matched: the student's are {batch.voxel_size} m, the teacher's "
            f"{teacher_batch.voxel_size} m"
        )
    ours, theirs = (each.scales[0].voxel_coords.long() for each in (batch, teacher_batch))
    both = torch.cat([ours, theirs])
    low = both.amin(0)
    extent = both.amax(0) - low + 1
    keys, teacher_keys = (
        ((((c[:, 0] * extent[1]) + c[:, 1]) * extent[2]) + c[:, 2]) * extent[3] + c[:, 3]
        for c in (ours - low, theirs - low)
    )
    # both are ascending, as voxels are
    places = torch.searchsorted(teacher_keys, keys).clamp(max=len(teacher_keys) - 1)
    shared = teacher_keys[places] == keys
    return _first_points(batch)[shared], _first_points(teacher_batch)[places[shared]]


def _first_points(batch):
    """(V,) the first point in each finest voxel."""
    scale = batch.scales[0]
    rows = torch.arange(len(scale.point_to_voxel), device=scale.point_to_voxel.device)
    return torch.full((len(scale.voxel_coords),), len(rows), device=rows.device).scatter_reduce(
        0, scale.point_to_voxel, rows, "amin"
    )
