"""What a launcher says about this process's place among the others, in the variables that torch.distributed reads.

torchrun, accelerate and job/launch.py set RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE, MASTER_ADDR and
MASTER_PORT. ``srun`` sets variables of its own, which are translated here, so that under Slurm no launcher stands
between the batch system and the ranks: signals reach them, and their exit codes reach it.
"""

import re
from collections.abc import Mapping, MutableMapping

from pneumo.runtime.errors import UserError
from pneumo.runtime.machine import available_cores

FIRST_PORT, PORTS = 15000, 15000
"""Ports for a Slurm step's meeting point: below those that Linux hands out to outgoing connections (from 32768)."""


def adopt_slurm(environ: MutableMapping[str, str]) -> None:
    """Translate ``srun``'s description of its step, unless a launcher inside the step has said where this process is.

    A step of one task is left alone, and so is a batch script, which Slurm describes like a first task but
    for the step's variables.

    Raises:
        UserError: When Slurm's variables cannot be read.
    """
    tasks = int(environ.get("SLURM_STEP_NUM_TASKS", "1"))
    if tasks < 2 or "WORLD_SIZE" in environ:
        return
    try:
        port = _port(environ)
        node = int(environ["SLURM_NODEID"])
        found = {
            "RANK": environ["SLURM_PROCID"],
            "WORLD_SIZE": str(tasks),
            "LOCAL_RANK": environ["SLURM_LOCALID"],
            "LOCAL_WORLD_SIZE": str(tasks_per_node(environ["SLURM_STEP_TASKS_PER_NODE"])[node]),
            "MASTER_ADDR": environ.get("MASTER_ADDR") or first_host(environ["SLURM_STEP_NODELIST"]),
            "MASTER_PORT": environ.get("MASTER_PORT") or str(port),
        }
    except (KeyError, ValueError, IndexError) as error:
        raise UserError(
            f"Slurm says {tasks} tasks, but not where this one is ({error!r})",
            "the variables that srun sets",
            "start the tasks with srun, or set RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT",
        ) from error
    environ.update(found)


def has_agent(environ: Mapping[str, str]) -> bool:
    """Return whether an agent of torchrun or accelerate holds a store at MASTER_ADDR:MASTER_PORT."""
    return environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"


def first_host(hosts: str) -> str:
    """Return the first name of Slurm's host list: ``gpu[003-005,9],login1`` gives ``gpu003``."""
    found = re.match(r"([^\[,]+)(?:\[([^\],-]+)[^\]]*\]([^\[,]*))?", hosts)
    if found is None:
        raise ValueError(f"host list {hosts!r}")
    return "".join(part or "" for part in found.groups())


def tasks_per_node(text: str) -> list[int]:
    """Return the tasks on each node of Slurm's short form: ``2(x3),1`` gives [2, 2, 2, 1]."""
    counts: list[int] = []
    for part in text.split(","):
        found = re.fullmatch(r"([0-9]+)(?:\(x([0-9]+)\))?", part)
        if found is None:
            raise ValueError(f"tasks per node {text!r}")
        counts += [int(found[1])] * int(found[2] or 1)
    return counts


def _port(environ: Mapping[str, str]) -> int:
    """Choose a port that other jobs on the node do not choose, and that a restarted job does not choose again."""
    job, step = int(environ["SLURM_JOB_ID"]), int(environ.get("SLURM_STEP_ID", "0"))
    return FIRST_PORT + (job + 101 * step + 1009 * int(environ.get("SLURM_RESTART_COUNT", "0"))) % PORTS


def cores_of_rank(environ: Mapping[str, str], local_size: int) -> int:
    """Return the cores for one of ``local_size`` ranks on this node.

    Slurm may have bound each task to its own cores already; then what the process may use is its share.
    """
    usable = available_cores()
    if "SLURM_CPUS_ON_NODE" in environ:
        return max(1, min(usable, int(environ["SLURM_CPUS_ON_NODE"]) // local_size))
    return max(1, usable // local_size)
