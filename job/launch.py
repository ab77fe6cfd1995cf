#!/usr/bin/env python3
"""Start the ranks of this machine, one per GPU, and pass their exit code on.

    python job/launch.py --processes 4 job/train.py --dataset DATASET --run runs/NAME

    python job/launch.py --nodes 2 --node-rank 0 --master node1:29500 job/train.py ...      # on each of two machines

For containers, where exit codes and signals matter: accelerate launch and torchrun turn every code into 1. Under
Slurm nothing of the kind is needed: srun starts the ranks.
"""

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from pneumo.distributed.launcher import Launcher, LaunchPlan
from pneumo.runtime import cli
from pneumo.runtime.config import config_dataclass
from pneumo.runtime.errors import UserError


@config_dataclass
class Arguments:
    """Flags of job/launch.py; they stand before the script to start."""

    processes: str = "auto"
    """Ranks on this machine; auto = its GPUs, or one."""
    nodes: int = 1
    """Machines that take part, each with as many ranks."""
    node_rank: int = 0
    """This machine's number among them, from 0."""
    master: str = ""
    """HOST:PORT under which all machines reach the first one; needed for several machines only."""
    restarts: int = 0
    """How often to start all ranks of this machine again after a crash; never after wrong input or a stop."""


def main() -> int:
    """Launch."""
    own, command = divide(sys.argv[1:])
    arguments = cli.parse(Arguments, own, prog="job/launch.py", description=(__doc__ or "").strip())
    if not command:
        raise UserError("no script to start", "job/train.py or another of the commands", "give it after the flags")
    plan = LaunchPlan(
        command=tuple(command),
        processes=count(arguments.processes),
        nodes=arguments.nodes,
        node_rank=arguments.node_rank,
        master=arguments.master,
        restarts=arguments.restarts,
    )
    if not Path(command[0]).is_file():
        raise UserError(f"no script {command[0]}", "job/train.py or another of the commands", "check the path")
    return Launcher(plan).run()


def divide(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Divide the words into the launcher's own and the command, which begins with the first name of a script."""
    first = next((i for i, word in enumerate(words) if word.endswith(".py")), len(words))
    return [word for word in words[:first] if word != "--"], list(words[first:])


def count(processes: str) -> int:
    """Return the number of ranks.

    Raises:
        UserError: When it is neither a number nor ``auto``.
    """
    if processes.isdecimal():
        return int(processes)
    if processes != "auto":
        raise UserError(f"--processes {processes}", "a number, or auto", "correct --processes")
    # Asking torch would take seconds and memory in a process that only waits.
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return 1
    listed = subprocess.run([tool, "--list-gpus"], capture_output=True, text=True, check=False).stdout
    return max(1, sum(line.startswith("GPU ") for line in listed.splitlines()))


if __name__ == "__main__":
    cli.run(main)
