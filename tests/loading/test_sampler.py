"""The order of samples: rates, purity, and steps that any number of ranks divide."""

import numpy as np
import pytest

from pneumo.loading.sampler import EXTRA_STREAM, epoch_order, mix, repeated_order, step_slice, steps

LABELS = np.arange(1000) % 5 == 0  # 200 positives of 1000


@pytest.mark.parametrize(
    ("rate", "count", "positives"),
    [
        pytest.param(None, 1000, 200, id="every sample once"),
        pytest.param(0.5, 400, 200, id="half"),
        pytest.param(0.8, 250, 200, id="mostly positive"),
        pytest.param(1.0, 200, 200, id="only positives"),
        pytest.param(0.3, 667, 200, id="rounded"),
        pytest.param(0.2, 1000, 200, id="the dataset's own rate"),
        pytest.param(0.01, 1000, 200, id="below the dataset's own rate nothing is repeated or left out"),
    ],
)
def test_epoch_holds_every_positive_once_and_negatives_to_the_rate(rate, count, positives):
    order = epoch_order(LABELS, seed=3, epoch=2, positive_rate=rate)
    assert order.dtype == np.int64
    assert len(order) == count == len(set(order.tolist()))
    assert LABELS[order].sum() == positives


@pytest.mark.parametrize("labels", [np.zeros(7, bool), np.ones(7, bool)])
def test_one_class_alone_is_taken_whole(labels):
    assert sorted(epoch_order(labels, seed=0, epoch=0, positive_rate=0.5)) == list(range(7))


def test_order_is_a_pure_function_of_seed_and_epoch():
    def draw(**changes):
        return epoch_order(LABELS, **({"seed": 1, "epoch": 4, "positive_rate": 0.5} | changes)).tolist()

    assert draw() == draw()
    assert draw() != draw(epoch=5)
    assert draw() != draw(seed=2)
    # Other negatives in the next epoch, not only another order.
    assert set(draw()) != set(draw(epoch=5))


def test_order_is_that_of_every_version_of_this_one():
    """A resumed run, of a later version, sees the samples that the first one would have seen."""
    labels = np.arange(20) % 5 == 0
    assert epoch_order(labels, seed=3, epoch=2, positive_rate=0.5).tolist() == [12, 11, 0, 19, 15, 10, 4, 5]
    every = [3, 2, 15, 6, 9, 7, 18, 10, 5, 13, 4, 8, 19, 1, 11, 14, 12, 16, 17, 0]
    assert epoch_order(labels, seed=3, epoch=2, positive_rate=None).tolist() == every


@pytest.mark.parametrize(
    ("share", "others"),
    [
        pytest.param(0.2, 25, id="one to every four"),
        pytest.param(0.5, 100, id="as many"),
        pytest.param(0.9, 150, id="no more than there are"),
        pytest.param(0.0, 0, id="none"),
    ],
)
def test_other_samples_are_a_share_of_the_epoch_at_random_places(share: float, others: int):
    order = np.arange(100)
    extra = 100 + epoch_order(np.zeros(150, bool), seed=1, epoch=2, positive_rate=None, stream=EXTRA_STREAM)
    mixed = mix(order, extra, seed=1, epoch=2, share=share)
    assert sorted(mixed.tolist()) == sorted([*range(100), *extra[:others].tolist()])
    assert mixed.tolist() == mix(order, extra, seed=1, epoch=2, share=share).tolist()
    assert mixed.tolist() != mix(order, extra, seed=1, epoch=3, share=share).tolist()
    half = len(mixed) // 2
    assert abs((mixed[:half] >= 100).mean() - (mixed[half:] >= 100).mean()) < 0.2


def test_order_is_shuffled_evenly():
    first_halves = [LABELS[epoch_order(LABELS, seed=s, epoch=0, positive_rate=0.5)[:200]].mean() for s in range(20)]
    assert 0.45 < np.mean(first_halves) < 0.55


@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_ranks_divide_a_step_and_together_see_the_whole_epoch(ranks):
    order = epoch_order(LABELS, seed=0, epoch=0, positive_rate=0.5)
    seen: list[int] = []
    for step in range(steps(len(order), 16)):
        micro_batches = step_slice(order, step, batch=16, micro_batch=4)
        per_rank = [micro_batches[rank::ranks] for rank in range(ranks)]
        assert all(len(m) == 4 for assigned in per_rank for m in assigned)
        seen += sorted(np.concatenate([m for assigned in per_rank for m in assigned]).tolist())
    assert seen == list(range(400))


def test_resuming_at_a_step_gives_the_rest_of_the_epoch():
    order = np.arange(50)
    whole = [step_slice(order, step, 8, 2) for step in range(steps(50, 8))]
    resumed = [step_slice(order, step, 8, 2) for step in range(4, steps(50, 8))]
    assert [[m.tolist() for m in step] for step in whole[4:]] == [[m.tolist() for m in step] for step in resumed]
    assert [len(m) for m in whole[0]] == [2, 2, 2, 2]


def test_incomplete_last_batch_is_dropped():
    assert steps(50, 8) == 6
    assert step_slice(np.arange(50), 5, 8, 8)[0].max() == 47


def test_an_epoch_of_one_sample_in_batches_of_one_has_one_step():
    assert steps(1, 1) == 1
    assert [m.tolist() for m in step_slice(np.arange(1), 0, 1, 1)] == [[0]]


@pytest.mark.parametrize(("samples", "batch"), [(0, 8), (-1, 8), (8, 0), (8, -1)])
def test_steps_of_no_samples_or_of_an_empty_batch_are_a_fault_of_the_program(samples, batch):
    with pytest.raises(AssertionError):
        steps(samples, batch)


@pytest.mark.parametrize("step", [-1, 6])
def test_a_step_that_the_epoch_does_not_have_is_a_fault_of_the_program(step):
    with pytest.raises(AssertionError):
        step_slice(np.arange(50), step, 8, 8)


@pytest.mark.parametrize("rate", [-0.5, 0.0, 1.5])
def test_a_positive_rate_out_of_range_is_a_fault_of_the_program(rate):
    with pytest.raises(AssertionError):
        epoch_order(LABELS, seed=0, epoch=0, positive_rate=rate)


def test_epoch_smaller_than_a_batch_is_repeated_with_new_positions():
    order = np.array([2, 0, 1])
    assert steps(len(order), 8) == 1
    (positions,) = step_slice(order, 0, 8, 8)
    assert positions.tolist() == list(range(8))
    assert order[positions % len(order)].tolist() == [2, 0, 1, 2, 0, 1, 2, 0]


def test_micro_batches_divide_the_batch():
    with pytest.raises(AssertionError):
        step_slice(np.arange(50), 0, 8, 3)


def test_a_repeated_order_has_every_sample_once_before_any_again():
    order = repeated_order(7, 17, seed=1, epoch=4).tolist()
    assert [len(set(order[first : first + 7])) for first in (0, 7)] == [7, 7]
    assert order[:7] != order[7:14]
    assert len(order) == 17
    assert repeated_order(7, 5, seed=1, epoch=4).tolist() == order[:5]
    others = [repeated_order(7, 17, **place).tolist() for place in ({"seed": 2, "epoch": 4}, {"seed": 1, "epoch": 5})]
    assert order not in others
    assert order[:7] != epoch_order(np.zeros(7, bool), seed=1, epoch=4, positive_rate=None).tolist(), "draws of its own"
