"""The learning rate of a step, as a function of the step alone: a resumed run needs no scheduler
state.
"""

import math


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
