"""Start the ranks of this machine, one per GPU, and exit with their exit code.

    python job/launch.py --processes 4 job/train.py --dataset DATASET --run runs/NAME

On each of two machines, on the second with --node-rank 1:

    python job/launch.py --nodes 2 --node-rank 0 --master node1:29500 job/train.py --dataset DATASET --run runs/NAME

Use it where a batch system acts on exit codes: accelerate launch and torchrun exit with 1 whatever code the ranks exit
with. Under Slurm no launcher is needed: srun starts the ranks.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from pneumo.distributed.launcher import Arguments, Launcher
from pneumo.runtime import cli
from pneumo.runtime.errors import UserError


def main() -> int:
    """Launch."""
    flags, command = split_command(sys.argv[1:])
    arguments = cli.parse(Arguments, flags, prog="job/launch.py", description=__doc__)
    if not command or not Path(command[0]).is_file():
        found = f"no script {command[0]}" if command else "no script to start"
        raise UserError(found, "job/train.py or another of the commands", "give its path after the flags")
    return Launcher(arguments, command).run()


def split_command(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """Split the arguments into the launcher's flags and the command, which begins with the first name of a script."""
    first = next((i for i, word in enumerate(argv) if word.endswith(".py")), len(argv))
    return [word for word in argv[:first] if word != "--"], list(argv[first:])


if __name__ == "__main__":
    cli.run(main, resumes=True)
