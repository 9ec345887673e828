"""What a network says of the points of a Batch."""

from dataclasses import dataclass

import torch


@dataclass(frozen=True, eq=False)
class Output:
    """The answer of a network to one Batch.

    Networks decide for voxels, and points of one voxel share the decision; whoever needs no gradient can work on the rows, which are fewer.

    Attributes:
        row_logits: (R, C) float32, one row for each thing decided; the column is the label.
        point_to_row: (N,) int64, for each point of the batch, in its order, its row.
    """

    row_logits: torch.Tensor
    point_to_row: torch.Tensor

    @property
    def logits(self):
        """(N, C) float32, of every point."""
        return self.row_logits.index_select(0, self.point_to_row)
