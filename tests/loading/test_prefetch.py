"""Working ahead by a bounded amount."""

import threading

import cv2
import pytest

from pneumo.loading.prefetch import prefetch, threads


def test_prefetch_keeps_order_and_stays_within_its_bound():
    given: list[int] = []

    def submitted():
        for number in range(20):
            # What was submitted and not yet yielded: the bound of 6 is exceeded by at most one item's weight.
            assert 3 * (number - len(given)) <= 6 + 3 + 3
            yield number

    for number in prefetch(submitted(), lambda _: 3, min_ahead=6):
        given += [number]
    assert given == list(range(20))


def test_two_items_are_in_flight_however_large():
    taken: list[int] = []

    def submitted():
        for number in range(10):
            taken.append(number)
            yield number

    items = prefetch(submitted(), lambda _: 100, min_ahead=1)
    assert next(items) == 0
    assert taken == [0, 1, 2]


def test_leaving_the_pool_early_cancels_what_has_not_begun():
    with threads(1) as pool:
        pool.submit(threading.Event().wait, 0.2)
        late = pool.submit(pytest.fail, "not cancelled")
    assert late.cancelled()
    assert cv2.getNumThreads() == 1
