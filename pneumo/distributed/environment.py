"""This process's rank and its cores, read from the variables that launchers set.

torchrun, accelerate and job/launch.py set RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE, MASTER_ADDR and
MASTER_PORT, which torch.distributed reads. ``srun`` sets variables of its own, which are translated here, so that no
launcher is needed between Slurm and the ranks: signals reach the ranks, and their exit codes reach Slurm.
"""

import re
from collections.abc import Mapping, MutableMapping

from pneumo.runtime.errors import UserError
from pneumo.runtime.machine import available_cores

BASE_PORT, NUM_PORTS = 15000, 15000
"""Ports for the rendezvous of a Slurm step: below those that Linux assigns to outgoing connections (from 32768)."""


def translate_slurm_variables(environ: MutableMapping[str, str]) -> None:
    """Set torch.distributed's variables from those of ``srun``, unless a launcher inside the step has set them.

    Does nothing in a step of one task, nor in a batch script: Slurm sets the same variables there as in a first task,
    except those of the step.

    Raises:
        UserError: When one of Slurm's variables is missing or malformed.
    """
    tasks = environ.get("SLURM_STEP_NUM_TASKS", "1")
    if tasks == "1" or "WORLD_SIZE" in environ:
        return
    try:
        port = _choose_port(environ)
        node = int(environ["SLURM_NODEID"])
        found = {
            "RANK": environ["SLURM_PROCID"],
            "WORLD_SIZE": str(int(tasks)),
            "LOCAL_RANK": environ["SLURM_LOCALID"],
            "LOCAL_WORLD_SIZE": str(tasks_per_node(environ["SLURM_STEP_TASKS_PER_NODE"])[node]),
            "MASTER_ADDR": environ.get("MASTER_ADDR") or first_host(environ["SLURM_STEP_NODELIST"]),
            "MASTER_PORT": environ.get("MASTER_PORT") or str(port),
        }
    except (KeyError, ValueError, IndexError) as error:
        raise UserError(
            f"a Slurm step of {tasks} tasks without the rank of this one ({error!r})",
            "the variables that srun sets",
            "start the tasks with srun, or set RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT",
        ) from error
    environ.update(found)


def has_agent(environ: Mapping[str, str]) -> bool:
    """Return whether an agent of torchrun or accelerate runs a store at MASTER_ADDR:MASTER_PORT."""
    return environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"


def batch_job(environ: Mapping[str, str]) -> str:
    """Return the name of the batch job that this process belongs to, "" outside of one."""
    job = environ.get("SLURM_JOB_ID")
    return f"Slurm job {job}" if job else ""


def is_pod(environ: Mapping[str, str]) -> bool:
    """Return whether this process runs in a pod of Kubernetes, whose Job starts a pod that exits with 3 again."""
    return "KUBERNETES_SERVICE_HOST" in environ


def first_host(host_list: str) -> str:
    """Return the first name of Slurm's host list: ``gpu[003-005,9],login1`` gives ``gpu003``.

    ``scontrol show hostnames`` does the same, but a container that Slurm starts need not have it.
    """
    found = re.match(r"([^\[,]+)(?:\[([^\],-]+)[^\]]*\]([^\[,]*))?", host_list)
    if found is None:
        raise ValueError(f"host list {host_list!r}")
    return "".join(part or "" for part in found.groups())


def tasks_per_node(text: str) -> list[int]:
    """Return the number of tasks on each node from Slurm's short form: ``2(x3),1`` gives [2, 2, 2, 1]."""
    counts: list[int] = []
    for part in text.split(","):
        found = re.fullmatch(r"([0-9]+)(?:\(x([0-9]+)\))?", part)
        if found is None:
            raise ValueError(f"tasks per node {text!r}")
        counts += [int(found[1])] * int(found[2] or 1)
    return counts


def _choose_port(environ: Mapping[str, str]) -> int:
    """Choose a port that no other Slurm job on the node has, nor this one before it was requeued."""
    job, step = int(environ["SLURM_JOB_ID"]), int(environ.get("SLURM_STEP_ID", "0"))
    return BASE_PORT + (job + 101 * step + 1009 * int(environ.get("SLURM_RESTART_COUNT", "0"))) % NUM_PORTS


def cores_per_rank(environ: Mapping[str, str]) -> int:
    """Return this rank's share of the cores that the ranks of its node may use, at least 1.

    Where Slurm has bound each task to cores of its own, the cores that this process may use are its share already.
    """
    usable, local_size = available_cores(), int(environ.get("LOCAL_WORLD_SIZE", "1"))
    if "SLURM_CPUS_ON_NODE" in environ:
        return max(1, min(usable, int(environ["SLURM_CPUS_ON_NODE"]) // local_size))
    return max(1, usable // local_size)
