"""The learning rate as a pure function of the progress in a stage, and on a plateau of its scores so far.

So resuming needs no scheduler state beside the history, and all ranks agree.
"""

import math
from collections.abc import Sequence
from typing import Annotated, Literal

from annotated_types import Interval

from pneumo.runtime.config import config_dataclass
from pneumo.runtime.ranges import Count, Fraction

ScheduleKind = Literal["cosine", "plateau"]
_SMALLEST_CHANGE = 1e-8
"""Torch's ``eps``: a rate that would change by less stays."""


@config_dataclass(flag_prefix="plateau.")
class Plateau:
    """When a stage with the schedule ``plateau`` lowers its learning rate, by its validation scores."""

    factor: Annotated[float, Interval(gt=0, lt=1)] = 0.1
    """Factor by which the learning rate is lowered."""
    patience: Count = 2
    """Validations without a better score that are accepted; the next one lowers the learning rate."""
    threshold: Fraction = 1e-7
    """A score is better when it is more than the best one times one plus this."""
    min_learning_rate: Annotated[float, Interval(ge=0, lt=10)] = 1e-7
    """The learning rate is not lowered beyond this."""


def plateau_rate(scores: Sequence[float], *, peak: float, plateau: Plateau) -> float:
    """Return the learning rate after a stage's validation scores, as torch's ``ReduceLROnPlateau`` with mode ``max``.

    Args:
        scores: Of the validations so far, in order.
        peak: Learning rate before the first one.
        plateau: When it is lowered.
    """
    rate, best, waited = peak, -math.inf, 0
    for score in scores:
        if score > best * (1 + plateau.threshold):
            best, waited = score, 0
        else:
            waited += 1
        if waited > plateau.patience:
            waited, lowered = 0, max(rate * plateau.factor, plateau.min_learning_rate)
            rate = lowered if rate - lowered > _SMALLEST_CHANGE else rate
    return rate


def cosine_wave(epoch: int, *, peak: float, falling_epochs: int, final_factor: float) -> float:
    """Return the learning rate of an epoch of a stage (from 0) on a cosine that falls and rises in turn.

    As torch's ``CosineAnnealingLR`` with ``T_max`` = ``falling_epochs`` when a stage is longer than that: from ``peak``
    to ``peak * final_factor`` in so many epochs, and back in as many.
    """
    return peak * (final_factor + (1 - final_factor) * 0.5 * (1 + math.cos(math.pi * epoch / falling_epochs)))


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
