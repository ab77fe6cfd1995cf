"""This process's rank and cores, from the variables of launchers and Slurm."""

import pytest

from pneumo.distributed.environment import (
    batch_job,
    cores_per_rank,
    first_host,
    is_pod,
    tasks_per_node,
    translate_slurm_variables,
)
from pneumo.runtime.errors import UserError
from pneumo.runtime.machine import available_cores

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


def test_a_slurm_task_gets_its_rank() -> None:
    environ = dict(STEP)
    translate_slurm_variables(environ)
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
    translate_slurm_variables(again)
    assert again["MASTER_PORT"] != port


@pytest.mark.parametrize(
    "change",
    [
        {"SLURM_STEP_NUM_TASKS": "1"},
        {"WORLD_SIZE": "2", "RANK": "0"},  # torchrun inside the step
    ],
)
def test_variables_of_a_single_task_and_of_a_launcher_inside_the_step_are_not_changed(change: dict[str, str]) -> None:
    environ = STEP | change
    before = dict(environ)
    translate_slurm_variables(environ)
    assert environ == before


def test_a_batch_script_is_not_a_step() -> None:
    environ = {"SLURM_JOB_ID": "1", "SLURM_NTASKS": "4", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}
    translate_slurm_variables(environ)
    assert "WORLD_SIZE" not in environ


def test_a_rendezvous_address_of_the_user_is_kept() -> None:
    environ = STEP | {"MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "1234"}
    translate_slurm_variables(environ)
    assert (environ["MASTER_ADDR"], environ["MASTER_PORT"]) == ("10.0.0.1", "1234")


@pytest.mark.parametrize("missing", ["SLURM_PROCID", "SLURM_STEP_NODELIST", "SLURM_STEP_TASKS_PER_NODE"])
def test_a_missing_variable_is_refused(missing: str) -> None:
    with pytest.raises(UserError, match="a Slurm step of 5 tasks without the rank of this one"):
        translate_slurm_variables({k: v for k, v in STEP.items() if k != missing})


@pytest.mark.parametrize("tasks", ["", "many", "2(x2)"])
def test_a_malformed_number_of_tasks_is_refused(tasks: str) -> None:
    with pytest.raises(UserError, match=r"the rank of this one \(ValueError.*; expected the variables that srun"):
        translate_slurm_variables(STEP | {"SLURM_STEP_NUM_TASKS": tasks})


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


def test_a_pod_is_known_by_the_service_of_the_api_server() -> None:
    assert is_pod({"KUBERNETES_SERVICE_HOST": "10.96.0.1"})
    assert not is_pod({"HOSTNAME": "folds-0"})


def test_cores_are_divided_unless_slurm_has_bound_them() -> None:
    usable = available_cores()
    assert cores_per_rank({}) == usable
    assert cores_per_rank({"LOCAL_WORLD_SIZE": str(2 * usable)}) == 1
    # Bound: this task may use `usable` of the node's cores, and all of these are its own.
    assert cores_per_rank({"LOCAL_WORLD_SIZE": "8", "SLURM_CPUS_ON_NODE": str(8 * usable)}) == usable
    assert cores_per_rank({"LOCAL_WORLD_SIZE": "2", "SLURM_CPUS_ON_NODE": "2"}) == 1


def test_the_batch_job_has_a_name() -> None:
    assert batch_job(STEP) == "Slurm job 4711"
    assert batch_job({}) == ""
