"""The order of samples: a pure function of (seed, epoch, labels, positive rate), the same on every rank.

A position is an index into an epoch's order. The state to resume from is (epoch, step): nothing here keeps any, and
nothing depends on the number of ranks, so that a run may resume on another number of them::

    order       7 2 9 4 0 5 | 3 8 1 6 ...     epoch_order: indices into the labels
    positions   0 1 2 3 4 5 | 6 7 8 9 ...     step_slice: step 0 | step 1, in micro-batches of 2
"""

import numpy as np
import numpy.typing as npt

Indices = npt.NDArray[np.int64]

STREAM = 1
"""Second half of the generator's key, which keeps these draws apart from the augmentation's of the same seed."""
MIXED_STREAM, EXTRA_STREAM, UNLABELED_STREAM = 3, 4, 5
"""The same of the draws of samples of another kind, which are added to an order or come beside it."""


def epoch_order(
    labels: npt.NDArray[np.bool_], *, seed: int, epoch: int, positive_rate: float | None, stream: int = STREAM
) -> Indices:
    """Return the shuffled order of one epoch.

    With a positive rate the epoch contains every positive once, and as many negatives as the rate leaves room for,
    drawn anew each epoch without repetition. A rate at or below the dataset's own fraction of positives
    takes every sample once: nothing is ever repeated, and no positive is left out. So does any rate when there are
    no positives.

    Args:
        labels: (n,) True for a positive sample.
        seed: The run's seed, 0 or more.
        epoch: Number of the epoch from 0, counted over all stages.
        positive_rate: Fraction of positives in the epoch, above 0 and at most 1; None takes every sample once.
        stream: Second half of the generator's key.

    Returns:
        (m,) indices into ``labels``, each at most once.
    """
    generator = _generator(seed, epoch, stream)
    positives, negatives = np.flatnonzero(labels), np.flatnonzero(~labels)
    if positive_rate is not None and len(positives):
        assert 0 < positive_rate <= 1
        negative_count = round(len(positives) * (1 - positive_rate) / positive_rate)
        negatives = generator.permutation(negatives)[:negative_count]
    return generator.permutation(np.concatenate([positives, negatives])).astype(np.int64, copy=False)


def mix(order: Indices, extra: Indices, *, seed: int, epoch: int, share: float) -> Indices:
    """Return the order of an epoch with the first of other samples at random places in it.

    Args:
        order: (m,) order of the epoch.
        extra: (n,) order of the others.
        seed: The run's seed.
        epoch: Number of the epoch from 0, counted over all stages.
        share: Fraction of the result that others are to be, as far as there are enough of them; below 1.

    Returns:
        (m + k,) with each of ``order`` and k of ``extra`` once.
    """
    assert 0 <= share < 1
    count = round(len(order) * share / (1 - share))
    together = np.concatenate([order, extra[:count]])
    return _generator(seed, epoch, MIXED_STREAM).permutation(together).astype(np.int64, copy=False)


def repeated_order(samples: int, length: int, *, seed: int, epoch: int) -> Indices:
    """Return a part of an endless order of unlabeled samples: each comes once before any comes again.

    Args:
        samples: Their number, above 0.
        length: How many of the order, from its beginning.
        seed: The run's seed.
        epoch: Number of the epoch from 0, counted over all stages.

    Returns:
        (length,) numbers of the samples.
    """
    generator = _generator(seed, epoch, UNLABELED_STREAM)
    rounds = [generator.permutation(samples) for _ in range(-(-length // samples))]
    return np.concatenate(rounds)[:length].astype(np.int64, copy=False)


def _generator(seed: int, epoch: int, stream: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=[seed, stream], counter=[0, 0, epoch, 0]))


def steps(samples: int, batch: int) -> int:
    """Return the number of steps in an epoch of ``samples`` positions.

    An incomplete last batch is dropped (the next epoch is shuffled anew, so that no sample is left out of all
    epochs), unless it is the only one.
    """
    assert samples > 0
    assert batch > 0
    return max(1, samples // batch)


def step_slice(order: Indices, step: int, batch: int, micro_batch: int) -> list[Indices]:
    """Return the positions of one step, in micro-batches.

    An epoch smaller than one batch is repeated until the batch is full: its positions continue to count, so that a
    repeated sample is augmented differently each time, and the samples are ``order[positions % len(order)]``.

    Args:
        order: (m,) order of the epoch.
        step: Number of the step in the epoch, from 0.
        batch: Samples in a step over all ranks.
        micro_batch: Samples in one forward pass, a divisor of ``batch``.

    Returns:
        The micro-batches in order, each an array of positions; rank r of R takes every R-th from the r-th on.
    """
    assert 0 <= step < steps(len(order), batch)
    assert batch % micro_batch == 0
    positions = np.arange(step * batch, (step + 1) * batch, dtype=np.int64)
    return [positions[first : first + micro_batch] for first in range(0, batch, micro_batch)]
