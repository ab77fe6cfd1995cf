#!/usr/bin/env python3
"""Start the ranks of this machine, one per GPU, and exit with their exit code.

    python job/launch.py --processes 4 job/train.py --dataset DATASET --run runs/NAME

    python job/launch.py --nodes 2 --node-rank 0 --master node1:29500 job/train.py ...      # on each of two machines

Use it where a batch system acts on exit codes: accelerate launch and torchrun exit with 1 whatever code the ranks exit
with. Under Slurm no launcher is needed: srun starts the ranks.
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
    """Flags of job/launch.py; they come before the script to start."""

    processes: str = "auto"
    """Ranks on this machine; auto = one per GPU, or one without GPUs."""
    nodes: int = 1
    """Machines that take part, each with this number of ranks."""
    node_rank: int = 0
    """This machine's index among them, from 0."""
    master: str = ""
    """HOST:PORT at which all machines reach the first one; required with several machines only."""
    restarts: int = 0
    """How many times to restart all ranks of this machine after a crash; never after wrong input or a stop."""


def main() -> int:
    """Launch."""
    flags, command = split_command(sys.argv[1:])
    arguments = cli.parse(Arguments, flags, prog="job/launch.py", description=(__doc__ or "").strip())
    if not command:
        raise UserError("no script to start", "job/train.py or another of the commands", "give it after the flags")
    plan = LaunchPlan(
        command=tuple(command),
        processes=count_processes(arguments.processes),
        nodes=arguments.nodes,
        node_rank=arguments.node_rank,
        master=arguments.master,
        restarts=arguments.restarts,
    )
    if not Path(command[0]).is_file():
        raise UserError(f"no script {command[0]}", "job/train.py or another of the commands", "check the path")
    return Launcher(plan).run()


def split_command(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """Split the arguments into the launcher's flags and the command, which begins with the first name of a script."""
    first = next((i for i, word in enumerate(argv) if word.endswith(".py")), len(argv))
    return [word for word in argv[:first] if word != "--"], list(argv[first:])


def count_processes(processes: str) -> int:
    """Return the number of ranks that ``--processes`` asks for.

    Raises:
        UserError: When it is neither a number nor ``auto``.
    """
    if processes.isdecimal():
        return int(processes)
    if processes != "auto":
        raise UserError(f"--processes {processes}", "an integer, or auto", "correct --processes")
    # Importing torch would take seconds and memory in a process that only waits.
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return 1
    listed = subprocess.run([tool, "--list-gpus"], capture_output=True, text=True, check=False).stdout
    return max(1, sum(line.startswith("GPU ") for line in listed.splitlines()))


if __name__ == "__main__":
    cli.run(main)
