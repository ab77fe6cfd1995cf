"""A rank that fails at an instant of the start, or whose launcher is killed: started by each of the launchers.

    starting_rank.py die 1        rank 1 is killed before it has joined the others
    starting_rank.py train        the ranks join, and train until they are stopped; each prints its process id

A rank that is stopped exits with 3, like job/train.py.
"""

import os
import signal
import sys
import time

from pneumo.distributed.startup import init, shutdown
from pneumo.distributed.stopping import StopFlag
from pneumo.distributed.watchdog import Watchdog
from pneumo.runtime import cli
from pneumo.runtime.errors import StopRequested


def main() -> None:
    """Do what the first argument says."""
    stop = StopFlag()
    if sys.argv[1] == "die" and sys.argv[2] in (os.environ.get("RANK"), os.environ.get("SLURM_PROCID")):
        os.kill(os.getpid(), signal.SIGKILL)
    world = init(stop=stop)
    with Watchdog(world.meeting, world.rank_timeout_s):
        os.write(1, f"pid {os.getpid()}\n".encode())
        for _ in range(20_000):
            time.sleep(0.1)
            if world.any_rank(bool(stop)):
                raise StopRequested(f"{stop.signal_name} at a step")
    shutdown()


if __name__ == "__main__":
    cli.run(main)
