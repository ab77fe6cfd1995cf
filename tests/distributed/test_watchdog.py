"""A rank that fails, hangs or is killed ends its fold group, which names it and its error; other groups train on."""

import signal
import time

import pytest
from rank_programs import Ended

from pneumo.distributed import heartbeat
from pneumo.distributed.heartbeat import HEARTBEAT
from pneumo.distributed.peers import ExitStatus, Peer
from pneumo.distributed.rendezvous import Meeting
from pneumo.distributed.watchdog import Watchdog
from pneumo.runtime.console import log
from pneumo.runtime.errors import ExitCode


@pytest.mark.parametrize(
    ("what", "bad_rank", "code", "texts"),
    [
        ("hang", 1, 1, ["[rank 1] ERROR rank 1 made no progress for", "in stuck_here", "rank 1 failed, and this"]),
        (
            "bug",
            1,
            1,
            ["[rank 0] ERROR rank 1 failed, and this rank", "in _bug", "ZeroDivisionError: a bug of this rank"],
        ),
        ("bug", 0, 1, ["[rank 1] ERROR rank 0 failed, and this rank", "ZeroDivisionError: a bug of this rank"]),
        ("wrong input", 1, 2, ["[rank 0] ERROR rank 1 failed", "truncated; expected a complete one; copy it again"]),
        ("killed", 1, 1, ["[rank 0] ERROR rank 1 no longer responds", "last known activity: counting"]),
        ("killed", 0, 1, ["[rank 1] ERROR rank 0 no longer responds"]),
        ("frozen", 1, 1, ["[rank 0] ERROR rank 1 no longer responds"]),
    ],
)
def test_a_lost_rank_is_named(what: str, bad_rank: int, code: int, texts: list[str], worlds: dict[str, Ended]) -> None:
    codes, output = worlds[f"{what} {bad_rank}"]
    assert codes[1 - bad_rank] == code, output
    # Its peer kills a frozen rank, which its launcher would otherwise wait for.
    assert codes[bad_rank] == (-signal.SIGKILL if what in ("killed", "frozen") else code)
    for text in texts:
        assert text in output, output
    assert "finished its work" not in output


@pytest.mark.parametrize("bad_rank", [0, 2])
def test_other_groups_finish_their_work_first(bad_rank: int, worlds: dict[str, Ended]) -> None:
    codes, output = worlds[f"killed {bad_rank} of 4"]
    assert [codes[rank] for rank in range(4) if rank != bad_rank] == [1] * 3
    others = {0: (2, 3), 2: (0, 1)}[bad_rank]
    peer = bad_rank + 1
    for rank in others:
        assert f"rank {rank} finished its work" in output, output
        assert f"[rank {rank}] ERROR rank" in output, output
    assert f"[rank {peer}] ERROR rank {bad_rank} no longer responds" in output, output
    assert f"rank {peer} finished its work" not in output


def test_a_process_that_was_paused_and_resumes_blames_no_rank(worlds: dict[str, Ended]) -> None:
    assert worlds["pause"] == ([0], "resumed\n")


def stuck_in_this_test(codes: list[int]) -> None:
    while not codes:
        time.sleep(0.1)


def test_a_single_rank_without_progress_prints_its_stack_and_ends(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log, "propagate", True)
    codes: list[int] = []
    with Watchdog(Meeting(), 1, exit_process=codes.append):
        heartbeat.touch("reading shard 3")
        stuck_in_this_test(codes)
    assert codes == [ExitCode.BUG]
    (error,) = caplog.messages
    assert "rank 0 made no progress for" in error
    assert "(reading shard 3) and ends" in error
    assert "in stuck_in_this_test" in error


def test_ranks_that_all_wait_end_with_the_activity_of_each() -> None:
    watch = Watchdog(Meeting(), 10)
    one = Peer(waiting=True, idle_s=25, activity="step 3")
    watch._peers = {1: one, 2: Peer(waiting=True, idle_s=25, activity="validating")}
    with heartbeat.waiting():
        HEARTBEAT.last_progress = time.monotonic() - 15
        assert watch._deadlock() is None
        HEARTBEAT.last_progress = time.monotonic() - 25
        lost = watch._deadlock()
        assert lost is not None
        assert "have waited for each other for 25 s:\n  rank 1: step 3\n  rank 2: validating" in str(lost)
        watch._peers[2].waiting = False
        assert watch._deadlock() is None, "a working peer has a timeout of its own"
        watch._peers[2] = Peer(waiting=True, idle_s=1)
        assert watch._deadlock() is None, "it waits for moments, as in each step"


def test_a_rank_between_folds_may_wait_for_ranks_that_wait_for_another_fold() -> None:
    watch = Watchdog(Meeting(), 10)
    # Rank 1 waits for rank 2, with which it trains next, and which still trains.
    watch._exchange.peers = {1: Peer(waiting=True, idle_s=25), 2: Peer(waiting=False)}
    with heartbeat.waiting():
        HEARTBEAT.last_progress = time.monotonic() - 25
        watch.depend_on((0, 1), between_folds=True)
        assert watch._deadlock() is None
        watch._exchange.peers[2] = Peer(waiting=True, idle_s=25)
        assert watch._deadlock() is not None
        watch._exchange.peers[2].waiting = False
        watch.depend_on((0, 1))
        assert watch._deadlock() is not None


@pytest.mark.parametrize("bad_rank", [0, 1])
def test_a_rank_that_needs_a_lost_one_for_its_next_fold_trains_its_own_first(
    bad_rank: int, worlds: dict[str, Ended]
) -> None:
    codes, output = worlds[f"killed {bad_rank} before the next wave"]
    assert (codes[bad_rank], codes[1 - bad_rank]) == (-signal.SIGKILL, ExitCode.BUG), output
    assert f"rank {1 - bad_rank} trained fold {1 - bad_rank}\n" in output
    assert f"[rank {1 - bad_rank}] ERROR rank {bad_rank} no longer responds" in output
    assert "fold 2" not in output


def test_a_group_of_a_later_wave_trains_on_without_rank_0_and_its_store(worlds: dict[str, Ended]) -> None:
    codes, output = worlds["killed 0, not needed for the next wave"]
    assert codes == [-signal.SIGKILL, 1, 1, 1], output
    assert "rank 1 trained fold 1\n" in output
    for rank in (2, 3):
        assert f"rank {rank} trained fold 4 with 2\n" in output
        assert f"[rank {rank}] ERROR rank 0 no longer responds" in output


@pytest.mark.parametrize("stopped", [0, 1])
def test_a_stop_of_one_rank_between_waves_stops_those_that_wait_for_it(stopped: int, worlds: dict[str, Ended]) -> None:
    codes, output = worlds[f"stopped {stopped} between waves"]
    assert codes == [ExitCode.REQUEUE, ExitCode.REQUEUE], output
    assert f"rank {1 - stopped} trained fold {1 - stopped}\n" in output
    assert "during the wait for the ranks of the next fold" in output
    assert "fold 2" not in output


def test_ranks_form_other_groups_for_the_next_wave(worlds: dict[str, Ended]) -> None:
    codes, output = worlds["two waves"]
    assert codes == [0, 0], output
    assert sorted(output.splitlines()) == [
        "rank 0 trained fold 0",
        "rank 0 trained fold 2 with 2",
        "rank 1 trained fold 1",
        "rank 1 trained fold 2 with 2",
    ]


def test_a_stopped_peer_ends_only_ranks_that_wait_for_it() -> None:
    watch = Watchdog(Meeting(), 900)
    watch._peers = {1: Peer(exit_status=ExitStatus(ExitCode.REQUEUE, "fold 0 at step 3; rank 1 received SIGTERM"))}
    assert watch._find_lost_peer(60, waiting=False) is None
    # Nor is it lost when its heartbeats end afterwards, or the store with rank 0.
    watch._peers[1].last_heartbeat = time.monotonic() - 100
    assert watch._find_lost_peer(60, waiting=False) is None
    lost = watch._find_lost_peer(60, waiting=True)
    assert lost is not None
    assert lost.code == ExitCode.REQUEUE
    assert str(lost) == "rank 1 was stopped, and this rank waits for it:\nfold 0 at step 3; rank 1 received SIGTERM"


@pytest.mark.parametrize("seconds", [0, 5])
@pytest.mark.parametrize("stopped", [0, 1])
def test_a_rank_that_needs_a_stopped_fold_is_stopped_too_whenever_it_waits_for_it(
    stopped: int, seconds: int, worlds: dict[str, Ended]
) -> None:
    """The stopped rank has published its status, ended its process and, as rank 0, the store, in any order."""
    codes, output = worlds[f"stopped {stopped}, the other works {seconds} s"]
    assert codes == [ExitCode.REQUEUE, ExitCode.REQUEUE], output
    assert "no longer responds" not in output


def test_a_rank_that_needs_an_interrupted_one_is_stopped_too(worlds: dict[str, Ended]) -> None:
    assert worlds["interrupted 0"].codes == [128 + signal.SIGINT, ExitCode.REQUEUE]


@pytest.mark.parametrize("first", [0, 1])
def test_a_rank_that_is_done_is_not_lost_however_long_the_others_take(first: int, worlds: dict[str, Ended]) -> None:
    assert worlds[f"done first: {first}"] == ([0, 0], "done\ndone\n")


@pytest.mark.parametrize("killed", [0, 1])
def test_a_rank_that_dies_while_the_ranks_connect_is_named(killed: int, worlds: dict[str, Ended]) -> None:
    codes, output = worlds[f"killed while connecting: {killed}"]
    assert codes[killed] == -signal.SIGKILL
    assert codes[1 - killed] == ExitCode.BUG
    assert f"ERROR rank {killed} no longer responds" in output


def test_a_rank_that_waits_for_its_device_is_not_the_one_that_hangs(worlds: dict[str, Ended]) -> None:
    codes, output = worlds["device waits"]
    assert codes == [1, 1], output
    assert "[rank 1] ERROR rank 1 made no progress for" in output
    assert "in stuck_here" in output
    assert "[rank 0] ERROR rank 1 failed, and this rank depends on it" in output
    assert "rank 0 made no progress" not in output


def test_a_missing_heartbeat_counts_only_while_the_store_answers() -> None:
    watch = Watchdog(Meeting(), 900)
    watch._peers = {1: Peer(activity="step 3", last_heartbeat=time.monotonic() - 70)}
    watch._exchange.last_response = time.monotonic() - 50
    assert watch._find_lost_peer(60, waiting=False) is None
    watch._exchange.last_response = time.monotonic()
    lost = watch._find_lost_peer(60, waiting=False)
    assert lost is not None
    assert "rank 1 no longer responds" in str(lost)
    assert "its last known activity: step 3" in str(lost)
