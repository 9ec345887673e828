"""What a network says of the points of a Batch."""

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Output:
    """The answer of a network to one Batch.

    Attributes:
        logits: (N, C) float32, one row for each point of the batch, in its order; the column is the label.
    """

    logits: torch.Tensor
