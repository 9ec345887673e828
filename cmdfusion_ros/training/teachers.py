"""Teachers: what gives a student its targets. Every tensor of an answer is detached where the
answer is made.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from cmdfusion_ros.batch import Batch, make_batch
from cmdfusion_ros.checkpoint.file import load_checkpoint
from cmdfusion_ros.checkpoint.published import load_published_resnet
from cmdfusion_ros.class_map import ClassMap
from cmdfusion_ros.config import ModelConfig
from cmdfusion_ros.frame import Frame
from cmdfusion_ros.geometry.voxels import VoxelGrid
from cmdfusion_ros.models import grid_of
from cmdfusion_ros.models.image_network import BackboneTeacher
from cmdfusion_ros.models.output import Output, PixelFeatures, ScaleFeatures
from cmdfusion_ros.sparse.backends import choose_backend, use_backend


@dataclass(frozen=True, eq=False)
class TeacherAnswer:
    """What a teacher says of a batch; no tensor in it has a gradient.

    Attributes:
        batch: the Batch that it saw.
        logits: (N, C) of every point of it; None of teachers that know no classes.
        answered: (N,) bool, the points that `logits` says anything of; None = all.
        pixels: PixelFeatures; None without images.
        deep: ScaleFeatures of a U-Net; None of others. taps: see Output; none of others.
    """

    batch: object
    logits: torch.Tensor | None = None
    answered: torch.Tensor | None = None
    pixels: PixelFeatures | None = None
    deep: ScaleFeatures | None = None
    taps: tuple[ScaleFeatures, ...] = ()

    @classmethod
    def of(cls, output: Output | PixelFeatures | None, batch: Batch) -> "TeacherAnswer":
        """The answer that an Output, or PixelFeatures, or None (no image) is."""
        if not isinstance(output, Output):
            return cls(batch, pixels=_detached_pixels(output))
        deep = None if output.deep is None else _detached(output.deep)
        taps = tuple(map(_detached, output.taps))
        pixels = _detached_pixels(output.pixels)
        return cls(batch, output.logits.detach(), output.answered, pixels, deep, taps)


def _detached(features):
    return ScaleFeatures(features.stride, features.features.detach())


def _detached_pixels(pixels):
    return (
        None
        if pixels is None
        else PixelFeatures(pixels.point_rows, tuple(level.detach() for level in pixels.levels))
    )


class FrozenTeacher:
    """A network that was trained before; never trained here.

    Args:
        network: module whose output TeacherAnswer.of takes.
        grid: VoxelGrid of the batches it reads; None where voxels do not matter to it.
        card: what its checkpoint says of its training.
    """

    def __init__(self, network: nn.Module, grid: VoxelGrid | None, card: dict[str, Any]):
        self._network = network.eval().requires_grad_(False)
        self._grid = grid
        self.card = card

    @torch.no_grad()
    def answer(self, batch: Batch, frames: Sequence[Frame], device: torch.device) -> TeacherAnswer:
        """TeacherAnswer on `frames`, of which `batch` was made for the student."""
        if self._grid is not None:
            batch = make_batch(frames, self._grid, device)
        return TeacherAnswer.of(self._network(batch), batch)


def open_teacher(
    settings: Any,
    data_folder: str | Path,
    model_config: ModelConfig,
    class_map: ClassMap,
    device: torch.device,
) -> FrozenTeacher | None:
    """The FrozenTeacher that DistillSettings name, or None for teachers that live in the training
    itself.

    Raises:
        FileNotFoundError, CheckpointError: no such file, or no network in it.
        ValueError: it knows other classes than the student and its logits are asked for.
    """
    in_data = Path(data_folder) / settings.path
    path = in_data if in_data.exists() else Path(settings.path)
    if settings.teacher == "published_images":
        network = BackboneTeacher(load_published_resnet(path), model_config.image_size)
        return FrozenTeacher(network.to(device), None, {"name": path.name})
    if settings.teacher != "checkpoint":
        return None
    checkpoint = load_checkpoint(path)
    if settings.logits and checkpoint.class_map.names != class_map.names:
        raise ValueError(
            f"{path}: a teacher with the classes of {checkpoint.class_map.name}; the student's "
            f"are {class_map.name}, so set `logits` to 0"
        )
    network = use_backend(
        checkpoint.build_network().to(device), choose_backend("auto", device, training=True).name
    )
    grid = None if checkpoint.model_config.network == "image" else grid_of(checkpoint.model_config)
    if grid == grid_of(model_config):
        grid = None if settings.match == "pixel" else grid
    return FrozenTeacher(network, grid, checkpoint.card)
