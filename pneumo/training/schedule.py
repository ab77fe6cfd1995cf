"""The learning rate as a pure function of training's progress, so that resuming needs no scheduler state."""

import math


def learning_rate(done: float, epochs: float, *, peak: float, warmup_epochs: float, final_factor: float) -> float:
    """Return the learning rate after ``done`` of a stage's ``epochs``.

    Linear from 0 to ``peak`` over the warm-up, then half a cosine down to ``peak * final_factor``
    (Loshchilov and Hutter, SGDR, 2017, one cycle). Counted in epochs, since a changing positive rate gives epochs
    of different lengths.

    Args:
        done: Epochs of the stage that are done, with a fraction; at a step's middle rather than its start, so that
            the first step of the warm-up moves the weights.
        epochs: Length of the stage.
        peak: Largest learning rate.
        warmup_epochs: Length of the linear part; cut to half the stage.
        final_factor: Last learning rate as a factor of the peak.
    """
    warmup_epochs = min(warmup_epochs, epochs / 2)
    if done < warmup_epochs:
        return peak * done / warmup_epochs
    progress = min((done - warmup_epochs) / (epochs - warmup_epochs), 1.0)
    return peak * (final_factor + (1 - final_factor) * 0.5 * (1 + math.cos(math.pi * progress)))
