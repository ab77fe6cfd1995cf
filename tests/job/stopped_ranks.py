"""Worlds of two ranks of which one alone gets SIGTERM, forked from one Python that has imported torch.

Reads from standard input a list of [command, flags, point, stopped]: when a leader comes to the point, the rank
``stopped``, which may be that leader itself, gets the signal; at the point ``never``, none does. Runs one world after
another, and prints the exit codes and the output of each as JSON.
"""

import json
import os
import runpy
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from pneumo.inference import metrics
from pneumo.masks import submission
from pneumo.training import loop, run_metrics

JOB = Path(__file__).resolve().parents[2] / "job"
SIZE = 2
POINTS: dict[str, tuple[Any, str]] = {
    "fold": (loop, "publish_fold"),
    "fold of another group": (loop, "publish_fold"),
    "metrics": (run_metrics, "compute_metrics"),
    # Histograms, rule, masks and overlay are published by then, and metrics.json is not.
    "publishing": (metrics, "write"),
    "submission": (submission, "write"),
}
"""Module and name of a function that only a leader calls. With ``submission.write`` it is the call of the last file."""


def hook(point: str, stopped: int, pids: Path) -> None:
    """Let the leader that comes to the point send the signal, before it goes on."""
    module, name = POINTS[point]
    original = getattr(module, name)

    def wrapper(*arguments: Any, **options: Any) -> object:
        if point != "submission" or arguments[0].name == "submission.csv":
            _stop(point, stopped, pids)
        return original(*arguments, **options)

    setattr(module, name, wrapper)


def _stop(point: str, stopped: int, pids: Path) -> None:
    _wait_until(pids.exists)
    pid = json.loads(pids.read_text())[stopped]
    os.kill(pid, signal.SIGTERM)
    if pid != os.getpid() and point != "fold":
        # A rank that waits for the leader, or for another fold, must not wait for its end. In a fold the ranks agree.
        _wait_until(lambda: not Path(f"/proc/{pid}").exists())


def _wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < deadline, "the other rank waits for this one"
        time.sleep(0.01)


def run_rank(command: str, flags: list[str], rank: int, port: int, output: Path) -> NoReturn:
    """Run a rank in this process, and end it."""
    descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(SIZE), "LOCAL_WORLD_SIZE": str(SIZE)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    sys.argv = [f"job/{command}.py", *flags]
    runpy.run_path(str(JOB / f"{command}.py"), run_name="__main__")
    raise AssertionError("the command ends the process")


def run_world(command: str, flags: list[str], point: str, stopped: int, scratch: Path) -> tuple[list[int], str]:
    """Run the ranks, and return their exit codes and what they printed."""
    pids, output, port = scratch / "pids", scratch / "output", _free_port()
    children = []
    for rank in range(SIZE):
        child = os.fork()
        if child == 0:
            if point in POINTS:
                hook(point, stopped, pids)
            run_rank(command, flags, rank, port, output)
        children.append(child)
    (scratch / "new").write_text(json.dumps(children))
    (scratch / "new").rename(pids)
    codes = {}
    for _ in children:
        child, status = os.wait()
        codes[child] = os.waitstatus_to_exitcode(status)
    return [codes[child] for child in children], output.read_text()


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def main() -> None:
    """Run the worlds, and print how they ended."""
    ended = []
    for command, flags, point, stopped in json.load(sys.stdin):
        with tempfile.TemporaryDirectory() as scratch:
            ended.append(run_world(command, flags, point, stopped, Path(scratch)))
    sys.stdout.write(json.dumps(ended))


if __name__ == "__main__":
    main()
