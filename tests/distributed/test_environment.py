"""Where Slurm says that a process is."""

import os

import pytest

from pneumo.distributed.environment import adopt_slurm, cores_of_rank, first_host, tasks_per_node
from pneumo.runtime.errors import UserError

STEP = {
    "SLURM_JOB_ID": "4711",
    "SLURM_STEP_ID": "0",
    "SLURM_STEP_NUM_TASKS": "5",
    "SLURM_STEP_NODELIST": "gpu[07-09]",
    "SLURM_STEP_TASKS_PER_NODE": "2(x2),1",
    "SLURM_NODEID": "1",
    "SLURM_PROCID": "3",
    "SLURM_LOCALID": "1",
}


def test_a_task_finds_its_place() -> None:
    environ = dict(STEP)
    adopt_slurm(environ)
    port = environ.pop("MASTER_PORT")
    assert 15000 <= int(port) < 30000
    assert environ == STEP | {
        "RANK": "3",
        "WORLD_SIZE": "5",
        "LOCAL_RANK": "1",
        "LOCAL_WORLD_SIZE": "2",
        "MASTER_ADDR": "gpu07",
    }
    again = STEP | {"SLURM_RESTART_COUNT": "1"}
    adopt_slurm(again)
    assert again["MASTER_PORT"] != port


@pytest.mark.parametrize(
    "change",
    [
        {"SLURM_STEP_NUM_TASKS": "1"},
        {"WORLD_SIZE": "2", "RANK": "0"},  # torchrun inside the step
    ],
)
def test_what_another_launcher_says_goes_first(change: dict[str, str]) -> None:
    environ = STEP | change
    before = dict(environ)
    adopt_slurm(environ)
    assert environ == before


def test_a_batch_script_is_no_step() -> None:
    environ = {"SLURM_JOB_ID": "1", "SLURM_NTASKS": "4", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}
    adopt_slurm(environ)
    assert "WORLD_SIZE" not in environ


def test_a_meeting_point_that_the_user_gives_is_kept() -> None:
    environ = STEP | {"MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "1234"}
    adopt_slurm(environ)
    assert (environ["MASTER_ADDR"], environ["MASTER_PORT"]) == ("10.0.0.1", "1234")


@pytest.mark.parametrize("missing", ["SLURM_PROCID", "SLURM_STEP_NODELIST", "SLURM_STEP_TASKS_PER_NODE"])
def test_half_an_environment_is_refused(missing: str) -> None:
    with pytest.raises(UserError, match="Slurm says 5 tasks"):
        adopt_slurm({k: v for k, v in STEP.items() if k != missing})


@pytest.mark.parametrize(
    ("hosts", "first"),
    [
        ("n1", "n1"),
        ("n1,n2", "n1"),
        ("gpu[003-005,9],login1", "gpu003"),
        ("gpu[7,9]", "gpu7"),
        ("rack-2-node[11-12]-ib,x", "rack-2-node11-ib"),
    ],
)
def test_the_first_host_of_a_list(hosts: str, first: str) -> None:
    assert first_host(hosts) == first


def test_tasks_are_counted_on_each_node() -> None:
    assert tasks_per_node("4") == [4]
    assert tasks_per_node("2(x3),1") == [2, 2, 2, 1]
    with pytest.raises(ValueError, match="tasks per node"):
        tasks_per_node("2(y3)")


def test_cores_are_shared_unless_slurm_has_bound_them() -> None:
    usable = len(os.sched_getaffinity(0))
    assert cores_of_rank({}, 1) == usable
    assert cores_of_rank({}, 2 * usable) == 1
    # Bound: this task may use `usable` cores of a node's many, and all of them are its own.
    assert cores_of_rank({"SLURM_CPUS_ON_NODE": str(8 * usable)}, 8) == usable
    assert cores_of_rank({"SLURM_CPUS_ON_NODE": "2"}, 2) == 1
