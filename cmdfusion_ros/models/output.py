"""What a network says of the points of a Batch."""

from dataclasses import dataclass

import torch


@dataclass(frozen=True, eq=False)
class ScaleFeatures:
    """Features (V, C) on the voxels of one stride; those of points are `features[batch.scale(stride).point_to_voxel]`."""

    stride: int
    features: torch.Tensor


@dataclass(frozen=True, eq=False)
class Output:
    """The answer of a network to one Batch.

    Networks decide for voxels, and points of one voxel share the decision; whoever needs no gradient can work on the rows, which are fewer.

    Attributes:
        row_logits: (R, C) float32, one row for each thing decided; the column is the label.
        point_to_row: (N,) int64, for each point of the batch, in its order, its row.
        auxiliary: Outputs of other heads, which training supervises too; none in evaluation mode.
        knowledge: ScaleFeatures of a knowledge branch, before fusion: what distillation draws to the features of images; none in evaluation mode.
        camera_mask: (N,) int64, bit i set where view i of its frame gave a point image features; None of a network that has no use for images.
    """

    row_logits: torch.Tensor
    point_to_row: torch.Tensor
    auxiliary: tuple = ()
    knowledge: tuple = ()
    camera_mask: torch.Tensor | None = None

    @property
    def logits(self):
        """(N, C) float32, of every point."""
        return self.row_logits.index_select(0, self.point_to_row)
