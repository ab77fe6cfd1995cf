"""Run many command lines of job/ one after another in this process: importing torch for each would take minutes.

Reads a list of [command, words] as JSON and writes a list of [exit code, standard output, standard error], with what
native code and worker processes printed.
"""

import contextlib
import json
import os
import runpy
import signal
import sys
from pathlib import Path

STOP_SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT, signal.SIGHUP)
JOB = Path(__file__).resolve().parents[1] / "job"


def call(command: str, words: list[str]) -> tuple[object, str, str]:
    """Run one command, and return its exit code and its output."""
    with contextlib.ExitStack() as files:
        out, errors = (_output(files) for _ in range(2))
        code = _run(command, words, out, errors)
        return code, _read(out), _read(errors)


def _output(files: contextlib.ExitStack) -> int:
    descriptor = os.memfd_create("output")
    files.callback(os.close, descriptor)
    return descriptor


def _read(descriptor: int) -> str:
    return os.pread(descriptor, os.fstat(descriptor).st_size, 0).decode(errors="backslashreplace")


def _run(command: str, words: list[str], out: int, errors: int) -> object:
    """Run the command's file as Python does when it is started by its name, with its output in two files."""
    sys.argv = [f"job/{command}.py", *words]
    saved = os.dup(1), os.dup(2)
    # job/train.py and job/ensemble.py catch signals to stop.
    handlers = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    os.dup2(out, 1)
    os.dup2(errors, 2)
    try:
        with (
            # With an encoding, as a file has it: the parser draws its boxes according to it.
            open(1, "w", buffering=1, encoding="utf-8", closefd=False) as stdout,
            open(2, "w", buffering=1, encoding="utf-8", closefd=False, errors="backslashreplace") as stderr,
            contextlib.redirect_stdout(stdout),
            contextlib.redirect_stderr(stderr),
        ):
            runpy.run_path(str(JOB / f"{command}.py"), run_name="__main__")
    except SystemExit as ended:
        return ended.code
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for standard, descriptor in zip((1, 2), saved, strict=True):
            os.dup2(descriptor, standard)
            os.close(descriptor)
    return None


if __name__ == "__main__":
    with contextlib.ExitStack() as files:
        ended = []
        for command, words in json.load(sys.stdin):
            out, errors = (_output(files) for _ in range(2))
            ended.append((_run(command, words, out, errors), out, errors))
        # Only now: worker processes of the first command may work, and print, for a later one.
        json.dump([(code, _read(out), _read(errors)) for code, out, errors in ended], sys.stdout)
