"""Batch normalisation over the rows of a table."""

import torch
from torch import nn
from torch.nn import functional


class RowNorm(nn.BatchNorm1d):
    """(N, C) -> (N, C), `BatchNorm1d` that a single row does not stop.

    One row has no spread: in training it is normalised as in use, by the running statistics, and
    leaves them as they were. A sector of a scan may be one voxel at the coarsest scale, and a
    camera may see one point.
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        if self.training and len(input) < 2:
            seen = (self.running_mean, self.running_var)
            return functional.batch_norm(input, *seen, self.weight, self.bias, eps=self.eps)
        return super().forward(input)
