"""Start of the process groups: what a launcher must have set."""

import os

import pytest
from rank_programs import Ended

from pneumo.distributed import launcher_watch, startup
from pneumo.distributed.startup import disable_unsupported_links, init
from pneumo.runtime import cli
from pneumo.runtime.errors import UserError


def test_a_world_of_another_size_is_refused(worlds: dict[str, Ended]) -> None:
    codes, output = worlds["one of two"]
    assert codes == [2]
    assert "a world of 1 rank; expected 2; start with `accelerate launch --multi_gpu" in output
    assert "Traceback" not in output


def test_incomplete_variables_of_a_launcher_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("LOCAL_RANK", "0")
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    monkeypatch.delenv("MASTER_PORT", raising=False)
    with pytest.raises(UserError, match="WORLD_SIZE is 2, but MASTER_ADDR, MASTER_PORT are not set"):
        init()
    # Else the next command of this process, the suite, would end it at once.
    assert not cli._skip_teardown


@pytest.mark.parametrize(
    ("variables", "rank_timeout_s", "expected"),
    [
        ({"TORCHELASTIC_RUN_ID": "none"}, 900, 60),
        ({"SLURM_STEP_NUM_TASKS": "2"}, 900, 60),
        ({"TORCHELASTIC_RUN_ID": "none"}, 30, 30),
        ({"SLURM_STEP_NUM_TASKS": "2", "PNEUMO_LAUNCHER_PID": str(os.getppid())}, 900, 900),
        ({}, 900, 900),
    ],
)
def test_ranks_that_start_together_wait_a_minute_for_the_others(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], rank_timeout_s: int, expected: int
) -> None:
    """Those of one launcher, however long --rank-timeout is; this process has taken 10 s so far."""

    class Waits(Exception):
        """Instead of the rendezvous."""

    def rendezvous(host: str, port: int, rank: int, size: int, timeout_s: float, *_: object, **__: object) -> None:
        assert (host, rank, size) == ("localhost", 1, 2)
        raise Waits(timeout_s)

    launched = {"WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "1", "MASTER_ADDR": "localhost", "MASTER_PORT": "29500"}
    for name, value in (launched | variables).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # which init() sets where it is missing
    monkeypatch.setattr(cli, "_skip_teardown", False)
    monkeypatch.setattr(startup, "seconds_since_start", lambda: 10.0)
    monkeypatch.setattr(startup, "Rendezvous", rendezvous)
    monkeypatch.setattr(launcher_watch, "stop_with_launcher", lambda environ: None)
    with pytest.raises(Waits) as waits:
        init(rank_timeout_s=rank_timeout_s)
    assert waits.value.args == (expected,)


@pytest.mark.parametrize(
    ("gpus", "driver", "set_by_the_user", "expected"),
    [
        (["NVIDIA GeForce RTX 4090"] * 2, "535.183.01", {}, {"NCCL_P2P_DISABLE": "1", "NCCL_IB_DISABLE": "1"}),
        (
            ["NVIDIA GeForce RTX 4090"] * 2, "535.183.01", {"NCCL_P2P_DISABLE": "0"},
            {"NCCL_P2P_DISABLE": "0", "NCCL_IB_DISABLE": "1"},
        ),
        (["NVIDIA GeForce RTX 4090"] * 2, "550.54.14", {}, {}),
        (["NVIDIA GeForce RTX 4090"], "535.183.01", {}, {}),
        (["NVIDIA H100 80GB HBM3"] * 2, "535.183.01", {}, {}),
    ],
)  # fmt: skip
def test_links_that_the_gpus_do_not_support_are_not_used(
    monkeypatch: pytest.MonkeyPatch,
    gpus: list[str],
    driver: str,
    set_by_the_user: dict[str, str],
    expected: dict[str, str],
) -> None:
    monkeypatch.setattr("accelerate.utils.environment.get_gpu_info", lambda: (gpus, len(gpus)))
    monkeypatch.setattr("accelerate.utils.environment.get_driver_version", lambda: driver)
    environ = dict(set_by_the_user)
    disable_unsupported_links(environ)
    assert environ == expected
