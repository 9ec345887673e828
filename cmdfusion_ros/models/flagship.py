"""CMDFusion that also looks through the cameras that are there: one set of weights for 0 to n of
them.

Where a live camera sees a point, its image features take the place of the knowledge branch's guess
of them, altogether or as far as a learned gate trusts them; everywhere else the guess stays
(imputation). With no camera at all the network is CMDFusion.
"""

from collections.abc import Iterable, Sequence

import torch
from torch import nn

from cmdfusion_ros.batch import Batch
from cmdfusion_ros.models.cmdfusion import CmdFusion, fuse
from cmdfusion_ros.models.image_encoder import ImageShape
from cmdfusion_ros.models.image_network import pixels_of
from cmdfusion_ros.models.imputer import Trust, impute_voxels
from cmdfusion_ros.models.output import Output, PixelFeatures, ScaleFeatures
from cmdfusion_ros.models.views import make_views


class Flagship(CmdFusion):
    """CmdFusion and an image encoder, whose four maps stand in for the knowledge of the scales,
    finest for finest.

    Points share voxels, so image features are put into each scale as the mean over the points of a
    voxel, seen and unseen ones alike (`imputer.impute_voxels`): the mean that the published form
    takes of point features.

    In training the same frames are also answered without their images (`Output.auxiliary`), beside
    what random camera dropping of the data does, so that the knowledge branch keeps learning what
    images say.

    Args:
        channels, strides, num_classes, scaled: see CmdFusion.
        images: how it looks at images.
        weighed: whether a gate (`imputer.Trust`, one for each scale) decides how far image features
            take the guess's place; otherwise they do altogether.
    """

    def __init__(
        self,
        channels: int,
        strides: tuple[int, ...],
        num_classes: int,
        images: ImageShape,
        weighed: bool = False,
        scaled: bool = True,
    ):
        super().__init__(channels, strides, num_classes, scaled)
        self.image_size = images.size
        self.images = images.encoder(channels)
        self.trust = (
            nn.ModuleList(Trust(channels) for _ in self.head.strides)
            if weighed
            else [None] * len(self.head.strides)
        )

    def forward(self, batch: Batch) -> Output:
        """Batch -> Output with `camera_mask`; in training mode with `auxiliary` (the knowledge
        branch's answer; that without images), `knowledge`
        and `pixels`."""
        embedded = self.embedding(batch)
        lidar, knowledge = self.lidar(embedded, batch), self.knowledge(embedded, batch)
        views = make_views(batch, self.image_size)
        pixels = pixels_of(self.images(views.images), views.chosen) if len(views.images) else None
        seeing = (
            knowledge
            if pixels is None
            else see(knowledge, pixels, self.trust, self.head.strides, batch)
        )
        output = self._answer(lidar, seeing, batch)
        if not self.training:
            return Output(output.row_logits, output.point_to_row, camera_mask=views.camera_mask)
        strides = self.head.strides
        own_logits = self.knowledge_head(
            fuse(self.to_knowledge, seeing, lidar, strides, batch), batch
        )
        auxiliary = [Output(own_logits, output.point_to_row)]
        if seeing is not knowledge:
            auxiliary.append(self._answer(lidar, knowledge, batch))
        features = tuple(
            ScaleFeatures(stride, z) for stride, z in zip(strides, knowledge, strict=True)
        )
        told = None if pixels is None else pixels.only(views.shown)
        return Output(
            output.row_logits,
            output.point_to_row,
            auxiliary=tuple(auxiliary),
            knowledge=features,
            pixels=told,
            camera_mask=views.camera_mask,
        )

    def _answer(self, lidar, knowledge, batch):
        logits = self.head(fuse(self.to_lidar, lidar, knowledge, self.head.strides, batch), batch)
        return Output(logits, batch.scale(self.head.strides[0]).point_to_voxel)


def see(
    knowledge: Sequence[torch.Tensor],
    pixels: PixelFeatures,
    trust: Iterable[nn.Module | None],
    strides: tuple[int, ...],
    batch: Batch,
) -> list[torch.Tensor]:
    """The knowledge of every scale with what images say in its place: list of (V_i, C) -> list of
    (V_i, C).

    Args:
        knowledge: features of the voxels of every scale.
        pixels: PixelFeatures of the points that an image sees.
        trust: for each scale a Trust, or None for full trust.
        strides: of the scales.
        batch: the Batch.
    """
    scales = [batch.scale(stride) for stride in strides]
    return [
        impute_voxels(z, pixels.of_scale(i), pixels.point_rows, scale, gate)
        for i, (z, scale, gate) in enumerate(zip(knowledge, scales, trust, strict=True))
    ]
