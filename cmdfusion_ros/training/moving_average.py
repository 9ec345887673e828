"""The exponential moving average of a network's weights."""

import torch
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


class MovingAverage:
    """Keeps `average` (a copy of `network`) near the weights of `network`.

    Args:
        decay: what stays of the average at a step; less in the first, whose weights are random and
            to be forgotten fast.
    """

    def __init__(self, average: nn.Module, network: nn.Module, decay: float):
        self._decay = decay
        # a state_dict anew every step takes longer than the average
        pairs = zip(average.state_dict().values(), network.state_dict().values(), strict=True)
        self._averaged, self._copied = [], []  # (the average's, the network's); whole numbers
        for kept, new in pairs:
            (self._averaged if kept.is_floating_point() else self._copied).append((kept, new))

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after a step, counted from 0."""
        for kept, new in self._copied:
            kept.copy_(new)
        averaged = map(list, zip(*self._averaged, strict=True))
        decay = min(self._decay, (1 + step) / (10 + step))
        get_ema_multi_avg_fn(decay)(*averaged, None)  # all tensors in one call
