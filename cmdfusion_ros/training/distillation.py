"""Distillation: a student is drawn to what a teacher says of the same points, pixels or voxels.

One class serves CMDFusion (image features at pixels, arXiv 2307.04091), U2MKD (a teacher that sees
more sweeps, matched point by point, TPAMI 46(12) 2024) and M2SKD (the same weights on a cloud with
completed things, matched by voxels, arXiv 2304.14800); they differ in their settings.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from cmdfusion_ros.batch import Batch, make_batch
from cmdfusion_ros.class_map import ClassMap
from cmdfusion_ros.config import ModelConfig, SettingsError
from cmdfusion_ros.frame import IGNORE_LABEL, Frame
from cmdfusion_ros.geometry.voxels import VoxelGrid
from cmdfusion_ros.models.output import Output
from cmdfusion_ros.training.distill_settings import DistillSettings
from cmdfusion_ros.training.feature_pairs import completed_points, pixel_pairs, unet_pairs
from cmdfusion_ros.training.losses import segmentation_loss
from cmdfusion_ros.training.pairs import match_origins, match_voxels
from cmdfusion_ros.training.teachers import TeacherAnswer, open_teacher
from cmdfusion_ros.training.terms import affinity_error, feature_error, logit_divergence

# in a row without a pair: camera dropping may take all images for some steps, a wrong setting takes
# them for ever
MAX_DRY_STEPS = 50


@dataclass(frozen=True)
class Step:
    """What a Distiller is shown of a step, or of a part of one.

    Attributes:
        output, batch: Output of the student on its Batch, of `frames`.
        teacher_frames: what the teacher sees of the same scans; None where it sees `frames`.
        network, average: the student, and the running average of its weights.
    """

    output: Output
    batch: Batch
    frames: Sequence[Frame]
    teacher_frames: Sequence[Frame] | None
    network: nn.Module
    average: nn.Module


class Distiller(nn.Module):
    """The terms of one DistillSettings. Its parameters are adapters, linear maps from features of
    the student to the width of the teacher's.

    Args:
        settings: DistillSettings with at least one weight.
        data_folder, model_config, class_map, device: of the training.

    Attributes:
        teacher: FrozenTeacher, or None where the teacher is the network itself.
    """

    def __init__(
        self,
        settings: DistillSettings,
        data_folder: str | Path,
        model_config: ModelConfig,
        class_map: ClassMap,
        device: torch.device,
    ):
        super().__init__()
        if not (settings.features or settings.logits or settings.affinity or settings.labels):
            raise SettingsError(
                f"distill: teacher {settings.teacher} with no weight; set features, logits, "
                "affinity or labels"
            )
        self.settings, self.device = settings, device
        self.teacher = open_teacher(settings, data_folder, model_config, class_map, device)
        names = settings.affinity_classes or class_map.names
        self.register_buffer(
            "affinity_labels",
            torch.tensor([class_map.label(name) for name in names]),
            persistent=False,
        )
        self.register_buffer("dry_steps", torch.zeros((), dtype=torch.int64))
        self.adapters = nn.ModuleList()
        self.to(device)

    def add_adapters(self, step: Step) -> None:
        """Make the adapters that these answers need. Call once, before training, with what one step
        would see.

        Raises:
            ValueError: features are asked for that student or teacher does not have, or nothing can
                be paired.
        """
        with torch.no_grad():
            answer = self._answer(step)[0]
            rows, teacher_rows = self._pairs(step, answer)
            if not len(rows):
                what = (
                    f"teacher {self.settings.teacher}: no {self.settings.match} of "
                    f"{step.frames[0].name} is paired"
                )
                raise ValueError(
                    f"distill: {what}; are the images read (images: true), and does the network "
                    "see any?"
                )
            widths = (
                [
                    (a.shape[1], b.shape[1])
                    for a, b in self._features(step, rows, teacher_rows, answer)
                ]
                if self.settings.features
                else []
            )
        for own, wanted in widths:
            self.adapters.append(
                (nn.Identity() if own == wanted else nn.Linear(own, wanted)).to(self.device)
            )

    def forward(self, step: Step) -> tuple[torch.Tensor, dict[str, float]]:
        """The terms of one batch.

        Returns:
            (loss, row): the weighted sum, and plain values for the log: each term, the number of
            pairs, the part of the teacher's features that the student does not explain (mean over
            scales), how many points more the teacher sees (fewer where its view was cropped and
            thinned by itself).

        Raises:
            ValueError: no pair in more than MAX_DRY_STEPS steps in a row.
        """
        settings = self.settings
        output = step.output
        answer, label_loss = self._answer(step)
        rows, teacher_rows = self._pairs(step, answer)
        self._count_dry(len(rows))
        terms, measures = {}, {"pairs": len(rows)}
        if settings.features:
            pairs = self._features(step, rows, teacher_rows, answer) if len(rows) else []
            pairs = [
                (adapt(ours), theirs)
                for adapt, (ours, theirs) in zip(self.adapters, pairs, strict=False)
                if len(theirs)  # no thing of this step may be completed
            ]
            terms["features"] = sum(
                (
                    feature_error(ours, theirs, settings.feature_floor, settings.feature_unit)
                    for ours, theirs in pairs
                ),
                _zero(output),
            )
            if pairs:
                with torch.no_grad():
                    measures["unexplained"] = sum(
                        feature_error(ours, theirs, unit="variance").item()
                        for ours, theirs in pairs
                    ) / len(pairs)
        if settings.logits or settings.affinity:
            terms.update(self._logit_terms(step, rows, teacher_rows, answer))
        if settings.labels:
            terms["labels"] = label_loss
        if step.teacher_frames:
            seen = sum(frame.num_points for frame in step.teacher_frames)
            measures["added"] = seen - len(step.batch.points)
        loss = sum(
            (getattr(settings, name) * value for name, value in terms.items()), _zero(output)
        )
        return loss, {**{name: value.item() for name, value in terms.items()}, **measures}

    def _logit_terms(self, step, rows, teacher_rows, answer):
        """{"logits", "affinity": scalar}, those that have a weight, over the pairs that the
        teacher answers.
        """
        settings, terms = self.settings, {}
        if answer.answered is not None:
            known = answer.answered[teacher_rows]
            rows, teacher_rows = rows[known], teacher_rows[known]
        ours, theirs = step.output.logits[rows], answer.logits[teacher_rows]
        if settings.logits:
            divergence = logit_divergence(
                ours, theirs, settings.temperature, settings.logit_kind, settings.logit_floor
            )
            terms["logits"] = divergence if len(ours) else _zero(step.output)
        if settings.affinity:
            terms["affinity"] = affinity_error(
                ours, theirs, self._groups(step.batch, step.frames, rows), settings.affinity_points
            )
        return terms

    def _answer(self, step):
        """TeacherAnswer, and the loss that a shared teacher learns by (0 elsewhere)."""
        label_loss = _zero(step.output)
        if self.settings.teacher == "own_images":
            return TeacherAnswer.of(step.output.pixels, step.batch), label_loss
        frames = step.teacher_frames or step.frames
        if self.teacher is not None:
            return self.teacher.answer(step.batch, frames, self.device), label_loss
        seen = make_batch(frames, _grid_like(step.batch), self.device)
        shared = self.settings.teacher == "shared"
        with torch.set_grad_enabled(
            shared and bool(self.settings.labels) and torch.is_grad_enabled()
        ):
            theirs = (step.network if shared else step.average)(seen)
            if shared and self.settings.labels:
                is_added = torch.from_numpy(_stack(frame.origin < 0 for frame in frames)).to(
                    self.device
                )
                mask = is_added & (seen.labels != IGNORE_LABEL)
                label_loss = segmentation_loss(
                    theirs.row_logits, theirs.point_to_row, seen.labels, mask
                )[0]
                # a scan adds some dozens of points to its thousands: as a mean over themselves
                # alone each would weigh hundreds of times as much as a point of the scan
                labelled = (seen.labels != IGNORE_LABEL).sum().clamp(min=1)
                label_loss = label_loss * (mask.sum() / labelled)
        return TeacherAnswer.of(theirs, seen), label_loss

    def _pairs(self, step, answer):
        if self.settings.match == "pixel":
            if answer.pixels is not None:
                rows = answer.pixels.point_rows
            elif answer.answered is not None:
                rows = answer.answered.nonzero()[:, 0]
            else:
                rows = torch.zeros(0, dtype=torch.int64, device=self.device)
            return rows, rows
        if self.settings.match == "voxel":
            return match_voxels(step.batch, answer.batch)
        return tuple(
            rows.to(self.device) for rows in match_origins(step.frames, step.teacher_frames)
        )

    def _features(self, step, rows, teacher_rows, answer):
        """Pairs of (M, C_i) features of student and teacher, one for each scale."""
        if self.settings.match == "pixel":
            return pixel_pairs(
                step.output, step.batch, answer, self.settings.feature_rows == "voxels"
            )
        if self.settings.feature_rows == "completed":
            kept = completed_points(step.frames, step.teacher_frames).to(rows.device)[rows]
            rows, teacher_rows = rows[kept], teacher_rows[kept]
        return unet_pairs(
            step.output, step.batch, rows, answer, teacher_rows, self.settings.feature_place
        )

    def _groups(self, batch, frames, rows):
        """(M,) int64, which group of the affinity a row is in; -1 for none."""
        labels = batch.labels[rows]
        groups = labels
        if self.settings.affinity_group == "instance":
            if any(frame.instance_ids is None for frame in frames):
                raise ValueError(
                    "distill: affinity_group instance needs a data set with instance ids; take "
                    "class"
                )
            ids = torch.from_numpy(
                _stack(frame.instance_ids.astype("int64") for frame in frames)
            ).to(self.device)[rows]
            groups = torch.where(
                ids > 0, ((batch.frame_index[rows] * 256) + labels) * 65536 + ids, -1
            )
        return torch.where(torch.isin(labels, self.affinity_labels), groups, -1)

    def _count_dry(self, num_pairs):
        self.dry_steps.mul_(0 if num_pairs else 1).add_(0 if num_pairs else 1)
        if self.dry_steps > MAX_DRY_STEPS:
            what = f"teacher {self.settings.teacher}: nothing was paired in {MAX_DRY_STEPS} steps"
            raise ValueError(f"distill: {what}; are images there, is camera_dropout too high?")


def _zero(output):
    """0 with a gradient, so that a step without any pair is a step."""
    return output.row_logits.sum() * 0.0


def _stack(arrays):
    return np.concatenate(list(arrays))


def _grid_like(batch):
    return VoxelGrid(batch.voxel_size, tuple(scale.stride for scale in batch.scales))
