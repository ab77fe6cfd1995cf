"""This process's rank, cores and launcher, from the variables of launchers and Slurm."""

import os

import pytest

from pneumo.distributed.environment import (
    LaunchedRank,
    batch_job,
    check_accelerate,
    cores_per_rank,
    first_host,
    is_alone,
    is_pod,
    launched_rank,
    launcher_pid,
    ranks_on_machine,
    starts_all_ranks_at_once,
    tasks_per_node,
    translate_slurm_variables,
)
from pneumo.runtime.console import log
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


def test_the_ranks_of_a_machine_are_counted() -> None:
    assert (ranks_on_machine({}), ranks_on_machine({"LOCAL_WORLD_SIZE": "8"})) == (1, 8)


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


LAUNCHED = {
    "RANK": "3",
    "WORLD_SIZE": "4",
    "LOCAL_RANK": "1",
    "LOCAL_WORLD_SIZE": "2",
    "MASTER_ADDR": "n1",
    "MASTER_PORT": "29500",
}


def test_a_launched_rank_is_read() -> None:
    assert launched_rank(LAUNCHED) == LaunchedRank(3, 4, "n1", 29500)
    assert launched_rank({k: v for k, v in LAUNCHED.items() if k != "LOCAL_WORLD_SIZE"}).rank == 3
    assert launched_rank({"MASTER_ADDR": "n1"}) == LaunchedRank()
    assert launched_rank({"WORLD_SIZE": "1", "RANK": "0", "LOCAL_RANK": "0"}) == LaunchedRank()


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"WORLD_SIZE": ""}, "WORLD_SIZE is '', which is not an integer from 1 to"),
        ({"WORLD_SIZE": None}, "WORLD_SIZE is not set, but other variables of a launcher are"),
        ({"WORLD_SIZE": "0"}, "WORLD_SIZE is '0'"),
        ({"WORLD_SIZE": "two"}, "WORLD_SIZE is 'two'"),
        ({"WORLD_SIZE": "9" * 5000}, "WORLD_SIZE is '999"),
        ({"WORLD_SIZE": "3"}, "RANK is '3', which is not an integer from 0 to 2"),
        ({"WORLD_SIZE": "1"}, "RANK is '3', which is not an integer from 0 to 0"),
        ({"RANK": "x"}, "RANK is 'x', which is not an integer from 0 to 3"),
        ({"RANK": "-1"}, "RANK is '-1'"),
        ({"RANK": "1.0"}, "RANK is '1.0'"),
        ({"RANK": "٣"}, "RANK is"),
        ({"RANK": None}, "WORLD_SIZE is 4, but RANK is not set"),
        ({"LOCAL_RANK": None, "MASTER_ADDR": ""}, "WORLD_SIZE is 4, but LOCAL_RANK, MASTER_ADDR are not set"),
        ({"LOCAL_RANK": "2"}, "LOCAL_RANK is '2', which is not an integer from 0 to 1"),
        ({"LOCAL_WORLD_SIZE": "5"}, "LOCAL_WORLD_SIZE is '5', which is not an integer from 1 to 4"),
        ({"LOCAL_WORLD_SIZE": ""}, "LOCAL_WORLD_SIZE is ''"),
        ({"MASTER_PORT": "http"}, "MASTER_PORT is 'http'"),
        ({"MASTER_PORT": "65536"}, "MASTER_PORT is '65536'"),
    ],
)
def test_wrong_variables_of_a_launcher_are_refused(change: dict[str, str | None], text: str) -> None:
    environ = {name: value for name, value in (LAUNCHED | change).items() if value is not None}
    with pytest.raises(UserError, match="expected all of RANK, WORLD_SIZE, LOCAL_RANK") as refused:
        launched_rank(environ)
    assert f"the variables of a launcher: {text}" in str(refused.value)


@pytest.mark.parametrize("name", ["LOCAL_WORLD_SIZE", "SLURM_CPUS_ON_NODE"])
@pytest.mark.parametrize("value", ["", "0", "many", "8(x2)"])
def test_malformed_numbers_for_the_cores_are_refused(name: str, value: str) -> None:
    with pytest.raises(UserError, match=f"{name} is '"):
        cores_per_rank({name: value})


def test_a_launcher_is_known_by_its_variables() -> None:
    assert launcher_pid({}) is None
    assert launcher_pid({"PNEUMO_LAUNCHER_PID": "17"}) == 17
    assert launcher_pid({"TORCHELASTIC_RUN_ID": "none"}) == os.getppid()
    assert launcher_pid(STEP) is None, "Slurm ends the tasks of a step itself"
    assert starts_all_ranks_at_once(STEP)
    assert starts_all_ranks_at_once({"TORCHELASTIC_RUN_ID": "none"})
    assert not starts_all_ranks_at_once(STEP | {"PNEUMO_LAUNCHER_PID": "17"})
    assert not starts_all_ranks_at_once(LAUNCHED), "by hand, on one machine after the other"


@pytest.mark.parametrize(
    "name",
    ["RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "ACCELERATE_USE_CPU", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE"],
)
def test_a_process_that_something_is_said_of_may_have_peers(name: str) -> None:
    assert is_alone({"PATH": "/bin", "OMP_NUM_THREADS": "2", "SLURM_JOB_ID": "4711"})
    assert not is_alone({"PATH": "/bin", name: "1"})


@pytest.mark.parametrize(
    ("variables", "text"),
    [
        ({"ACCELERATE_USE_FSDP": "true"}, "FSDP"),
        ({"ACCELERATE_USE_DEEPSPEED": "true", "ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "auto"}, "DeepSpeed"),
        ({"ACCELERATE_USE_MEGATRON_LM": "true"}, "Megatron-LM"),
        ({"ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "4"}, "4 steps of gradient accumulation"),
    ],
)
def test_what_accelerate_is_asked_for_and_training_does_not_do_is_refused(variables: dict[str, str], text: str) -> None:
    with pytest.raises(
        UserError, match=f"accelerate launch was asked for {text}, which the ranks of a fold do not use"
    ):
        check_accelerate(variables, "fp32")


def test_another_precision_for_accelerate_is_said(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log, "propagate", True)
    # What `accelerate launch` sets when nothing is asked for.
    default = {"ACCELERATE_MIXED_PRECISION": "no", "ACCELERATE_DYNAMO_BACKEND": "NO", "ACCELERATE_USE_FSDP": "false"}
    for variables in (
        {},
        default,
        {"ACCELERATE_MIXED_PRECISION": "bf16"},
        {"LOCAL_RANK": "1", "ACCELERATE_MIXED_PRECISION": "fp16"},
    ):
        check_accelerate(variables, "bf16")
    assert not caplog.messages
    check_accelerate({"ACCELERATE_MIXED_PRECISION": "fp16", "ACCELERATE_DYNAMO_BACKEND": "INDUCTOR"}, "fp32")
    first, second = caplog.messages
    assert "--mixed_precision fp16; training is in fp32, by the recipe" in first
    assert "asked for torch.compile; the recipe's --compile decides" in second
