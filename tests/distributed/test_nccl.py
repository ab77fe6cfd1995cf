"""The settings of NCCL that the watchdog needs."""

import os

import pytest
from rank_programs import Ended

from pneumo.distributed.nccl import leave_errors_to_watchdog
from pneumo.distributed.rendezvous import Meeting
from pneumo.distributed.watchdog import Watchdog

NAMES = ("TORCH_NCCL_ASYNC_ERROR_HANDLING", "TORCH_NCCL_DUMP_ON_TIMEOUT")


def test_nccl_aborts_no_process_unless_the_user_wants_it() -> None:
    environ = {"TORCH_NCCL_DUMP_ON_TIMEOUT": "1"}
    leave_errors_to_watchdog(environ)
    assert [environ[name] for name in NAMES] == ["0", "1"]


def test_a_single_rank_has_no_peers_to_watch(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    Watchdog(Meeting(), 900)
    assert not any(name in os.environ for name in NAMES)


def test_the_ranks_of_a_world_leave_errors_to_their_watchdogs(worlds: dict[str, Ended]) -> None:
    codes, output = worlds["device waits"]
    assert codes == [1, 1]
    assert "rank 0: ASYNC_ERROR_HANDLING=0 DUMP_ON_TIMEOUT=0" in output
