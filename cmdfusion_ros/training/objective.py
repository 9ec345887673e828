"""What a step lowers: the losses of every head on labels, and the terms of every teacher."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from cmdfusion_ros.batch import make_batch
from cmdfusion_ros.class_map import ClassMap
from cmdfusion_ros.frame import IGNORE_LABEL
from cmdfusion_ros.geometry.voxels import VoxelGrid
from cmdfusion_ros.models.output import Output
from cmdfusion_ros.training.distillation import Distiller, Step
from cmdfusion_ros.training.losses import segmentation_loss
from cmdfusion_ros.training.recipe import Recipe
from cmdfusion_ros.training.samples import Sample

_PRECISIONS = {"float32": None, "bfloat16": torch.bfloat16}


class Objective(nn.Module):
    """The loss of a part of a batch. Its parameters are the adapters of its teachers.

    Args:
        recipe: a Recipe. data_folder, class_map, device: of the training. grid: VoxelGrid of the
            network.

    Attributes:
        teachers: what the cards of the frozen teachers say of their training, a list of dicts.
    """

    def __init__(
        self,
        recipe: Recipe,
        data_folder: str | Path,
        class_map: ClassMap,
        grid: VoxelGrid,
        device: torch.device,
    ):
        super().__init__()
        self.recipe, self.grid, self.device = recipe, grid, torch.device(device)
        self.precision = _PRECISIONS[recipe.precision]
        self.distillers = nn.ModuleList(
            Distiller(each, data_folder, recipe.model, class_map, self.device)
            for each in recipe.distill
        )
        kinds = Counter(each.teacher for each in recipe.distill)
        self._names = [
            each.teacher if kinds[each.teacher] == 1 else f"{each.teacher}{number}"
            for number, each in enumerate(recipe.distill)
        ]
        self.teachers = [
            distiller.teacher.card for distiller in self.distillers if distiller.teacher is not None
        ]

    def prepare(self, network: nn.Module, average: nn.Module, sample: Sample) -> None:
        """Make the adapters of all teachers, from one sample as a step would see it; errors
        where nothing could be learnt from them.
        """
        if not self.distillers:
            return
        buffers = [(buffer, buffer.clone()) for buffer in network.buffers()]
        with torch.no_grad():
            batch = make_batch([sample.frame], self.grid, self.device)
            output = network.train()(batch)
            for distiller, teacher_frame in zip(
                self.distillers, sample.teacher_frames, strict=True
            ):
                seen = None if teacher_frame is None else [teacher_frame]
                distiller.add_adapters(Step(output, batch, [sample.frame], seen, network, average))
            for buffer, before in buffers:
                buffer.copy_(before)

    def forward(
        self,
        network: nn.Module,
        average: nn.Module,
        samples: Sequence[Sample],
        class_weights: torch.Tensor,
    ) -> tuple[torch.Tensor, dict[str, float]]:
        """Samples -> (loss, row): a scalar with gradient, and plain values for the log."""
        recipe, frames = self.recipe, [sample.frame for sample in samples]
        batch = make_batch(frames, self.grid, self.device)
        with torch.autocast(self.device.type, self.precision, enabled=self.precision is not None):
            output = network(batch)
        blind = () if output.without_images is None else (output.without_images,)
        heads = (output, *output.auxiliary, *blind)
        terms = [_on_labels(head, batch, class_weights) for head in heads]
        (entropy, lovasz), *others = terms
        # 0 without other heads
        auxiliary = sum(one + recipe.lovasz_weight * two for one, two in others)
        loss = (
            recipe.answer_weight * (entropy + recipe.lovasz_weight * lovasz)
            + recipe.auxiliary_weight * auxiliary
        )
        row = {"cross_entropy": entropy.item(), "lovasz": lovasz.item()}
        if others:
            row["auxiliary"] = auxiliary.item()
        if recipe.no_harm and blind:
            harm = harm_of_images(output, batch.labels)
            loss = loss + recipe.no_harm * harm
            row["harm"] = harm.item()
        for number, (name, distiller) in enumerate(zip(self._names, self.distillers, strict=True)):
            teacher_frames = [sample.teacher_frames[number] for sample in samples]
            seen = None if teacher_frames[0] is None else teacher_frames
            step = Step(output, batch, frames, seen, network, average)
            with torch.autocast(
                self.device.type, self.precision, enabled=self.precision is not None
            ):
                value, values = distiller(step)
            loss = loss + value
            row.update({f"{name}.{key}": each for key, each in values.items()})
        return loss, {"loss": loss.item(), **row, "points": len(batch.points)}


def _on_labels(head, batch, class_weights):
    """(cross_entropy, lovasz) of one Output on the labelled points that it answers."""
    mask = batch.labels != IGNORE_LABEL
    if head.answered is not None:
        mask = mask & head.answered
    return segmentation_loss(
        head.row_logits.float(), head.point_to_row, batch.labels, mask, class_weights
    )


def harm_of_images(output: Output, labels: torch.Tensor) -> torch.Tensor:
    """The mean over labelled points that an image sees of relu(cross-entropy with images - that
    without), a scalar; the answer without images is the measure and learns nothing from it.

    Args:
        output: an Output with `without_images` and `camera_mask`.
        labels: (N,) int64, labels or IGNORE_LABEL.
    """
    seen = ((output.camera_mask > 0) & (labels != IGNORE_LABEL)).nonzero()[:, 0]
    if not len(seen):
        return output.row_logits.sum() * 0.0
    blind, truth = output.without_images, labels[seen]
    ours, theirs = (
        cross_entropy(
            each.row_logits.index_select(0, each.point_to_row[seen]).float(),
            truth,
            reduction="none",
        )
        for each in (output, blind)
    )
    return (ours - theirs.detach()).relu().mean()


def mean_row(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """One log row of several parts: what is counted (points, pairs, added) is summed, the rest
    averaged over the parts that have it.
    """
    result = {}
    for key in dict.fromkeys(key for row in rows for key in row):
        values = [row[key] for row in rows if key in row]
        result[key] = (
            sum(values)
            if key.split(".")[-1] in ("points", "pairs", "added")
            else sum(values) / len(values)
        )
    return result
