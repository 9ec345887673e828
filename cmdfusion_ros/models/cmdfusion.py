"""CMDFusion (Cen et al., RA-L 2023): a LiDAR branch and a knowledge branch on the same points,
fused both ways at every scale.

The knowledge branch learns in training to say of every point what an image would have said. Both
branches see points alone, so images have no influence on
the result: there is no path for one. What its features are drawn to is the business of training
(`Output.knowledge`).
"""

from collections.abc import Iterable, Sequence

import torch
from torch import nn

from cmdfusion_ros.batch import Batch
from cmdfusion_ros.models.gated_fusion import GatedFusion
from cmdfusion_ros.models.output import Output, ScaleFeatures
from cmdfusion_ros.models.spv_encoder import PointEmbedding, SpvEncoder
from cmdfusion_ros.models.spv_pyramid import PyramidHead


class CmdFusion(nn.Module):
    """Two SPV encoders on one embedding, gates between them, a head on either
    (CMDFusion, arXiv 2307.04091: LiDAR branch, 2D knowledge branch, bidirectional fusion).

    The released code trains only the gates into the LiDAR branch; here the other direction has a
    head of its own, whose Output comes as `auxiliary` in training and is not computed in
    evaluation.

    Args:
        channels: C, width of every layer of both encoders.
        strides: scales of the encoders (see SpvEncoder); 4 scales and C = 128 on SemanticKITTI, 6
            and 256 on nuScenes in the paper.
        num_classes: columns of the logits.
    """

    def __init__(
        self, channels: int, strides: tuple[int, ...], num_classes: int, scaled: bool = True
    ):
        super().__init__()
        self.embedding = PointEmbedding(channels, scaled)
        self.lidar = SpvEncoder(channels, strides)
        self.knowledge = SpvEncoder(channels, strides)
        self.to_lidar = nn.ModuleList(GatedFusion(channels) for _ in strides[1:])
        self.to_knowledge = nn.ModuleList(GatedFusion(channels) for _ in strides[1:])
        self.head = PyramidHead(channels, strides[1:], num_classes)
        self.knowledge_head = PyramidHead(channels, strides[1:], num_classes)

    def forward(self, batch: Batch) -> Output:
        """Batch -> Output, in training mode with `auxiliary` (the knowledge branch's own answer)
        and `knowledge`.
        """
        embedded = self.embedding(batch)
        lidar, knowledge = self.lidar(embedded, batch), self.knowledge(embedded, batch)
        strides = self.head.strides
        point_to_row = batch.scale(strides[0]).point_to_voxel
        logits = self.head(fuse(self.to_lidar, lidar, knowledge, strides, batch), batch)
        if not self.training:
            return Output(logits, point_to_row)
        own_logits = self.knowledge_head(
            fuse(self.to_knowledge, knowledge, lidar, strides, batch), batch
        )
        features = tuple(
            ScaleFeatures(stride, z) for stride, z in zip(strides, knowledge, strict=True)
        )
        return Output(
            logits, point_to_row, auxiliary=(Output(own_logits, point_to_row),), knowledge=features
        )


def fuse(
    gates: Iterable[nn.Module],
    targets: Sequence[torch.Tensor],
    sources: Sequence[torch.Tensor],
    strides: tuple[int, ...],
    batch: Batch,
) -> list[torch.Tensor]:
    """Every scale through its GatedFusion: lists of (V_i, C) on the voxels of `strides` -> list
    of (V_i, C).
    """
    fused = []
    for gate, target, source, stride in zip(gates, targets, sources, strides, strict=True):
        scale = batch.scale(stride)
        fused.append(
            gate(
                target, source, scale.voxel_coords[:, 0].long(), scale.num_points, batch.num_frames
            )
        )
    return fused
