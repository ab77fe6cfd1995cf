"""The learning rate as a pure function of the step, so that resuming needs no scheduler state."""

import math


def learning_rate(step: int, steps: int, *, peak: float, warmup_steps: int, final_factor: float) -> float:
    """Return the learning rate of a stage's step.

    Linear from ``peak / warmup_steps`` to ``peak``, then half a cosine down to ``peak * final_factor``
    (Loshchilov and Hutter, SGDR, 2017, one cycle).

    Args:
        step: Step within the stage, from 0.
        steps: Steps of the whole stage.
        peak: Largest learning rate.
        warmup_steps: Steps of the linear part; cut to the stage's length.
        final_factor: Last learning rate as a factor of the peak.
    """
    warmup_steps = min(warmup_steps, steps)
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    progress = (step - warmup_steps) / max(steps - warmup_steps - 1, 1)
    cosine = 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
    return peak * (final_factor + (1 - final_factor) * cosine)
