"""Which features of a student are compared with which of its teacher: pairs of (M, C_i) tensors."""

from collections.abc import Sequence

import numpy as np
import torch

from cmdfusion_ros.batch import Batch
from cmdfusion_ros.frame import Frame
from cmdfusion_ros.models.output import Output
from cmdfusion_ros.sparse.scatter import scatter_sum
from cmdfusion_ros.training.teachers import TeacherAnswer

Pair = tuple[torch.Tensor, torch.Tensor]


def pixel_pairs(output: Output, batch: Batch, answer: TeacherAnswer, in_voxels: bool) -> list[Pair]:
    """What the student guesses and what images say, for each scale of the student.

    Args:
        in_voxels: each voxel once, with the mean over those of its points that an image sees: what
            fusion would put in the guess's place. A single pixel is noise to a voxel of 3 m.

    Raises:
        ValueError: the student guesses nothing, or the teacher sees no images.
    """
    if not output.knowledge or answer.pixels is None:
        raise ValueError(
            "distill: features of pixels need a network with a knowledge branch or imputers and a "
            "teacher with images; take another match"
        )
    pairs, rows = [], answer.pixels.point_rows
    for number, guess in enumerate(output.knowledge):
        seen = answer.pixels.of_scale(number)
        if not in_voxels:
            pairs.append((guess.at_points(batch, rows), seen))
            continue
        voxels = batch.scale(guess.stride).point_to_voxel.index_select(0, rows)
        kept, place = voxels.unique(return_inverse=True)
        counts = torch.bincount(place)[:, None].to(seen.dtype)
        means = scatter_sum(seen, place, len(kept)) / counts
        pairs.append((guess.features.index_select(0, kept), means))
    return pairs


def unet_pairs(
    output: Output,
    batch: Batch,
    rows: torch.Tensor,
    answer: TeacherAnswer,
    teacher_rows: torch.Tensor,
    place: str,
) -> list[Pair]:
    """Features of two U-Nets at paired points.

    Args:
        place: "deep" or "ends", see DistillSettings.

    Raises:
        ValueError: student or teacher is no U-Net.
    """
    ours = output.taps if place == "ends" else (output.deep,)
    theirs = answer.taps if place == "ends" else (answer.deep,)
    if not ours or not theirs or None in (*ours, *theirs):
        raise ValueError(
            "distill: features of points and voxels are those of U-Nets; student or teacher is "
            "none, so set `features` to 0"
        )
    return [
        (own.at_points(batch, rows), other.at_points(answer.batch, teacher_rows))
        for own, other in zip(ours, theirs, strict=True)
    ]


def completed_points(frames: Sequence[Frame], teacher_frames: Sequence[Frame]) -> torch.Tensor:
    """(N,) bool, the points of a batch of frames that belong to a thing to which the teacher's view
    added points.

    Raises:
        ValueError: a frame has no instance ids.
    """
    parts = []
    for frame, teacher_frame in zip(frames, teacher_frames, strict=True):
        if frame.instance_ids is None or teacher_frame.instance_ids is None:
            raise ValueError(f"frame {frame.name}: has no instance ids, by which things are told")
        keys, others = (
            each.labels.astype(np.int64) * 65536 + each.instance_ids
            for each in (frame, teacher_frame)
        )
        is_added = (teacher_frame.origin < 0) & (teacher_frame.instance_ids > 0)
        parts.append(np.isin(keys, np.unique(others[is_added])))
    return torch.from_numpy(np.concatenate(parts))
