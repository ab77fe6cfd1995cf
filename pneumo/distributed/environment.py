"""This process's rank, its cores and its launcher, read from the variables that launchers set.

torchrun, accelerate and job/launch.py set RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE, MASTER_ADDR and
MASTER_PORT, which torch.distributed reads. ``srun`` sets variables of its own, which are translated here, so that no
launcher is needed between Slurm and the ranks: signals reach the ranks, and their exit codes reach Slurm.
"""

import os
import re
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass

from pneumo.runtime.console import log
from pneumo.runtime.errors import UserError
from pneumo.runtime.machine import available_cores

BASE_PORT, NUM_PORTS = 15000, 15000
"""Ports for the rendezvous of a Slurm step: below those that Linux assigns to outgoing connections (from 32768)."""
MAX_RANKS = 1 << 20
RANK_VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
LAUNCHER_PID, LAUNCHER_PIPE = "PNEUMO_LAUNCHER_PID", "PNEUMO_LAUNCHER_PIPE"
"""Variables that job/launch.py sets: its process id, and the descriptor to which a rank writes once all have met."""


@dataclass(frozen=True)
class LaunchedRank:
    """What a launcher's variables say of this process; without a launcher, the only rank."""

    rank: int = 0
    size: int = 1
    host: str = ""
    port: int = 0


def is_alone(environ: Mapping[str, str]) -> bool:
    """Return whether no launcher and no MPI says anything of this process: there are no other ranks."""
    launchers = ("ACCELERATE_", "OMPI_", "PMI_", "MV2_")
    return not any(name in RANK_VARIABLES or name.startswith(launchers) for name in environ)


def launched_rank(environ: Mapping[str, str]) -> LaunchedRank:
    """Return this process's rank, and where the ranks meet.

    Raises:
        UserError: When a variable is malformed or missing, or they contradict each other.
    """
    if not any(name in environ for name in RANK_VARIABLES):
        return LaunchedRank()
    size = _integer(environ, "WORLD_SIZE", 1, MAX_RANKS)
    needed = ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT") if size > 1 else ()
    if missing := [name for name in needed if not environ.get(name)]:
        verb = "is" if len(missing) == 1 else "are"
        raise _wrong_variables(f"WORLD_SIZE is {size}, but {', '.join(missing)} {verb} not set")
    rank = _integer(environ, "RANK", 0, size - 1, default=0)
    local_size = _integer(environ, "LOCAL_WORLD_SIZE", 1, size, default=size)
    _integer(environ, "LOCAL_RANK", 0, local_size - 1, default=0)
    if size == 1:
        return LaunchedRank()
    return LaunchedRank(rank, size, environ["MASTER_ADDR"], _integer(environ, "MASTER_PORT", 1, 65535))


def _integer(environ: Mapping[str, str], name: str, low: int, high: int, *, default: int | None = None) -> int:
    text = environ.get(name)
    if text is None and default is not None:
        return default
    if text is None:
        raise _wrong_variables(f"{name} is not set, but other variables of a launcher are")
    # More digits than these are no number that int() should be asked to read.
    if not re.fullmatch(r"[0-9]{1,9}", text) or not low <= int(text) <= high:
        raise _wrong_variables(f"{name} is {text!r}, which is not an integer from {low} to {high}")
    return int(text)


def _wrong_variables(found: str) -> UserError:
    return UserError(
        f"the variables of a launcher: {found}",
        "all of RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT, or none",
        "start with a launcher (job/launch.py, accelerate launch, torchrun, srun), which sets them, or unset them",
    )


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
            "RANK": str(int(environ["SLURM_PROCID"])),
            "WORLD_SIZE": str(int(tasks)),
            "LOCAL_RANK": str(int(environ["SLURM_LOCALID"])),
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


def launcher_pid(environ: Mapping[str, str]) -> int | None:
    """Return the process that started this rank and that the rank must not outlive; None without one.

    Slurm ends the tasks of a step itself, and ranks that were started by hand may outlive their shell.
    """
    if LAUNCHER_PID in environ:
        return _integer(environ, LAUNCHER_PID, 1, 1 << 30)
    return os.getppid() if "TORCHELASTIC_RUN_ID" in environ else None


def starts_all_ranks_at_once(environ: Mapping[str, str]) -> bool:
    """Return whether the ranks of all machines are started at the same moment: by srun, torchrun or accelerate."""
    return "TORCHELASTIC_RUN_ID" in environ or ("SLURM_STEP_NUM_TASKS" in environ and LAUNCHER_PID not in environ)


def check_accelerate(environ: Mapping[str, str], precision: str) -> None:
    """Refuse what `accelerate launch` was asked for and training does not do; warn of another precision than ours.

    Args:
        environ: Its variables, from its flags and its configuration file.
        precision: ``fp32``, ``bf16`` or ``fp16``: what is trained in.

    Raises:
        UserError: When gradients are to be accumulated, or the network is to be divided over the ranks.
    """
    refused = {
        "ACCELERATE_USE_FSDP": "FSDP",
        "ACCELERATE_USE_DEEPSPEED": "DeepSpeed",
        "ACCELERATE_USE_MEGATRON_LM": "Megatron-LM",
        "ACCELERATE_USE_PARALLELISM_CONFIG": "a parallelism configuration",
    }
    found = [what for name, what in refused.items() if environ.get(name, "").lower() in ("true", "1", "yes")]
    steps = environ.get("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "1")
    if steps not in ("", "1", "auto"):
        found.append(f"{steps} steps of gradient accumulation")
    if found:
        raise UserError(
            f"accelerate launch was asked for {' and '.join(found)}, which the ranks of a fold do not use",
            "data parallelism alone; a step has --batch-size images, --micro-batch-size of them at once",
            "start with `accelerate launch --multi_gpu` without these flags, or correct `accelerate config`",
        )
    # "no" is what accelerate sets when it was not asked.
    asked = environ.get("ACCELERATE_MIXED_PRECISION", "no").lower()
    if asked not in ("", "no", precision) and environ.get("LOCAL_RANK", "0") == "0":
        log.warning(
            "accelerate launch was asked for --mixed_precision %s; training is in %s, by the recipe's --precision",
            asked,
            precision,
        )
    if environ.get("ACCELERATE_DYNAMO_BACKEND", "no").lower() != "no" and environ.get("LOCAL_RANK", "0") == "0":
        log.warning("accelerate launch was asked for torch.compile; the recipe's --compile decides")


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


def ranks_on_machine(environ: Mapping[str, str]) -> int:
    """Return the number of ranks on this rank's machine.

    Raises:
        UserError: When the launcher's variable is malformed.
    """
    return _integer(environ, "LOCAL_WORLD_SIZE", 1, MAX_RANKS, default=1)


def cores_per_rank(environ: Mapping[str, str]) -> int:
    """Return this rank's share of the cores that the ranks of its node may use, at least 1.

    Where Slurm has bound each task to cores of its own, the cores that this process may use are its share already.

    Raises:
        UserError: When a launcher's or Slurm's variable is malformed.
    """
    usable, local_size = available_cores(), ranks_on_machine(environ)
    if "SLURM_CPUS_ON_NODE" in environ:
        return max(1, min(usable, _integer(environ, "SLURM_CPUS_ON_NODE", 1, MAX_RANKS) // local_size))
    return max(1, usable // local_size)
