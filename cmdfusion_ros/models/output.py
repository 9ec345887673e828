"""What a network says of the points of a Batch."""

from dataclasses import dataclass

import torch

from cmdfusion_ros.batch import Batch


@dataclass(frozen=True, eq=False)
class ScaleFeatures:
    """Features (V, C) on the voxels of one stride; those of points are
    `features[batch.scale(stride).point_to_voxel]`.
    """

    stride: int
    features: torch.Tensor

    def at_points(self, batch: Batch, point_rows: torch.Tensor) -> torch.Tensor:
        """(M, C) of the points of `batch` at `point_rows` (M,)."""
        return self.features.index_select(
            0, batch.scale(self.stride).point_to_voxel.index_select(0, point_rows)
        )


@dataclass(frozen=True, eq=False)
class PixelFeatures:
    """What images say of the points that they see.

    Attributes:
        point_rows: (M,) int64, rows of the batch's points, each at most once.
        levels: (M, D_i) float tensors, finest map of the images first.
    """

    point_rows: torch.Tensor
    levels: tuple

    def of_scale(self, number: int) -> torch.Tensor:
        """(M, D) that goes with scale `number` of a knowledge branch: finest with finest, the
        coarsest map with all scales that are left.
        """
        return self.levels[min(number, len(self.levels) - 1)]

    def only(self, kept: torch.Tensor | None) -> "PixelFeatures":
        """Those of the rows where `kept` (M,) bool says so; None = all."""
        return (
            self
            if kept is None
            else PixelFeatures(self.point_rows[kept], tuple(level[kept] for level in self.levels))
        )


@dataclass(frozen=True, eq=False)
class Output:
    """The answer of a network to one Batch.

    Networks decide for voxels, and points of one voxel share the decision; whoever needs no
    gradient can work on the rows, which are fewer.

    Attributes:
        row_logits: (R, C) float32, one row for each thing decided; the column is the label.
        point_to_row: (N,) int64, for each point of the batch, in its order, its row.
        answered: (N,) bool, the points of which a head on images can say anything (the logits of
            others are 0); None = all.
        auxiliary: Outputs of other heads, which training supervises too; none in evaluation mode.
        without_images: Output of the same frames answered without their images, which training
            supervises too; None in evaluation mode, without images, and of networks that give
            none or give it in `auxiliary`.
        knowledge: ScaleFeatures, what a network guesses from points alone that images would say (a
            knowledge branch before fusion, or imputers), which training draws to what images do
            say: to `pixels`, or to a teacher's. None in evaluation mode.
        pixels: PixelFeatures of the network's own images, for `knowledge`, without spoilt ones
            (`Views.shown`); None without images, and in evaluation mode (except of a network of
            images alone).
        deep: ScaleFeatures of the coarsest stage of a U-Net before any image was fused, in both
            modes; None of other networks.
        taps: ScaleFeatures of the first encoder stage and of the last decoder stage of a U-Net, in
            both modes; none of other networks.
        camera_mask: (N,) int64, bit i set where view i of its frame gave a point image features;
            None of a network that has no use for images.
    """

    row_logits: torch.Tensor
    point_to_row: torch.Tensor
    answered: torch.Tensor | None = None
    auxiliary: tuple = ()
    without_images: "Output | None" = None
    knowledge: tuple = ()
    pixels: PixelFeatures | None = None
    deep: ScaleFeatures | None = None
    taps: tuple[ScaleFeatures, ...] = ()
    camera_mask: torch.Tensor | None = None

    @property
    def logits(self) -> torch.Tensor:
        """(N, C) float32, of every point."""
        return self.row_logits.index_select(0, self.point_to_row)
