"""Progress and waiting of this process."""

import time

import pytest

from pneumo.distributed import heartbeat
from pneumo.distributed.heartbeat import HEARTBEAT, Heartbeat


def test_a_touch_resets_the_idle_time_and_keeps_the_activity_unless_one_is_given() -> None:
    HEARTBEAT.last_progress = time.monotonic() - 100
    assert HEARTBEAT.idle_seconds() >= 100
    heartbeat.touch("step 3")
    assert HEARTBEAT.idle_seconds() < 50
    heartbeat.touch()
    assert HEARTBEAT.activity == "step 3"


def test_waits_are_nested_and_end_with_an_error() -> None:
    assert HEARTBEAT.wait_depth == 0
    with heartbeat.waiting():
        with pytest.raises(ZeroDivisionError), heartbeat.waiting():
            assert HEARTBEAT.wait_depth == 2
            raise ZeroDivisionError
        assert HEARTBEAT.wait_depth == 1
    assert HEARTBEAT.wait_depth == 0


def test_the_end_of_a_wait_is_progress() -> None:
    with heartbeat.waiting():
        HEARTBEAT.last_progress = time.monotonic() - 100
    assert HEARTBEAT.idle_seconds() < 50


def test_a_heartbeat_begins_as_starting() -> None:
    assert Heartbeat().activity == "starting"
