"""The learning rate as a pure function of the progress in a stage, so that resuming needs no scheduler state."""

import math


def learning_rate(done: float, epochs: float, *, peak: float, warmup_epochs: float, final_factor: float) -> float:
    """Return the learning rate after ``done`` of a stage's ``epochs``.

    Linear from 0 to ``peak`` over the warm-up, then half a cosine down to ``peak * final_factor``
    (Loshchilov and Hutter, SGDR, 2017, one cycle). Progress is counted in epochs, since a changing positive rate
    gives epochs of different lengths.

    Args:
        done: Epochs of the stage done, with a fraction; taken at the middle of a step, so that the learning rate of
            the first step is not 0.
        epochs: Length of the stage.
        peak: Largest learning rate.
        warmup_epochs: Length of the linear part; at most half the stage.
        final_factor: Last learning rate as a factor of the peak.
    """
    warmup_epochs = min(warmup_epochs, epochs / 2)
    if done < warmup_epochs:
        return peak * done / warmup_epochs
    progress = min((done - warmup_epochs) / (epochs - warmup_epochs), 1.0)
    return peak * (final_factor + (1 - final_factor) * 0.5 * (1 + math.cos(math.pi * progress)))
