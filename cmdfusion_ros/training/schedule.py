"""How gradients become steps. The learning rate is a function of the step alone: a resumed run
needs no scheduler state.
"""

import math
from collections.abc import Iterable

import torch

from cmdfusion_ros.training.recipe import Recipe


def make_optimizer(recipe: Recipe, parameters: Iterable[torch.Tensor]) -> torch.optim.Optimizer:
    """The optimiser that a Recipe asks for."""
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(
            parameters,
            lr=recipe.learning_rate,
            momentum=0.9,
            nesterov=True,
            weight_decay=recipe.weight_decay,
        )
    rates = {"lr": recipe.learning_rate, "weight_decay": recipe.weight_decay}
    try:
        return torch.optim.AdamW(parameters, **rates, fused=True)
    except RuntimeError:  # torch before 2.4 has no fused kernel for a CPU
        return torch.optim.AdamW(parameters, **rates, foreach=True)


def learning_rate_at(step: int, num_steps: int, highest: float, warm_up: float) -> float:
    """Rises on a straight line over the first `warm_up` fraction of `num_steps`, then falls along
    half a cosine towards 0.

    Args:
        step: 0..num_steps - 1.
    """
    rise = warm_up * num_steps
    if step < rise:
        return highest * (step + 1) / (rise + 1)
    return highest * 0.5 * (1 + math.cos(math.pi * (step - rise) / (num_steps - rise)))
