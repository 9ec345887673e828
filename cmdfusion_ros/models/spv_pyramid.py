"""The first network: CMDFusion's LiDAR branch alone, a point embedding, one SPV encoder and a
head on the features of all scales.
"""

from collections.abc import Sequence

import torch
from torch import nn

from cmdfusion_ros.batch import Batch
from cmdfusion_ros.models.output import Output
from cmdfusion_ros.models.spv_encoder import PointEmbedding, SpvEncoder

HEAD_WIDTH = 128


class PyramidHead(nn.Module):
    """Concatenated features of all scales -> logits: C S -> 128 -> classes.

    The published form concatenates at points. Here every scale goes through its own slice of the
    first layer, and the sums are spread from coarse to fine
    voxels: the same numbers from fewer rows.

    Args:
        channels: C.
        strides: of the S scales, ascending, as the encoder gives them.
        num_classes: columns of the logits.
    """

    def __init__(self, channels: int, strides: tuple[int, ...], num_classes: int):
        super().__init__()
        self.strides = tuple(strides)
        self.hidden = nn.Linear(channels * len(self.strides), HEAD_WIDTH)
        self.logits = nn.Linear(HEAD_WIDTH, num_classes)

    def forward(self, features: Sequence[torch.Tensor], batch: Batch) -> torch.Tensor:
        """List of (V_i, C) -> (V_0, classes), on the voxels of the finest of `strides`."""
        slices = self.hidden.weight.chunk(len(self.strides), 1)  # S of (128, C)
        total = None
        for i in reversed(range(len(self.strides))):
            own = features[i] @ slices[i].T
            if total is not None and self.strides[i + 1] != self.strides[i]:
                total = total.index_select(
                    0, batch.maps.coarsen(self.strides[i], self.strides[i + 1] // self.strides[i])
                )
            total = own if total is None else own + total
        return self.logits((total + self.hidden.bias).relu())


class SpvPyramid(nn.Module):
    """LiDAR-only network. Points that share a voxel of the second scale share their logits, as in
    the published network.

    Args:
        channels: C, width of every layer of the encoder.
        strides: scales of the encoder (see SpvEncoder).
        num_classes: columns of the logits.
    """

    def __init__(
        self, channels: int, strides: tuple[int, ...], num_classes: int, scaled: bool = True
    ):
        super().__init__()
        self.embedding = PointEmbedding(channels, scaled)
        self.encoder = SpvEncoder(channels, strides)
        self.head = PyramidHead(channels, strides[1:], num_classes)

    def forward(self, batch: Batch) -> Output:
        """Batch -> Output."""
        features = self.encoder(self.embedding(batch), batch)
        return Output(self.head(features, batch), batch.scale(self.head.strides[0]).point_to_voxel)
