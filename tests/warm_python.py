"""A Python that has imported torch already, and forks for each command: starting one takes 5 s of CPU time.

``executable()`` is a program that takes the place of ``python``. What it is asked to run runs in a process of its own,
with the environment, the directory, the cores and the open files of the program, which passes signals on and ends as
that process does. ``sys.executable`` is the same program there, so that the ranks of a launcher start warm, too.

The package is always that of this checkout. Charts of pages are empty: matplotlib takes 3 s for those of a report, and
tests/reporting and tests/browser draw them. Not for tests in which the process's own parent, session or number counts.
"""

import atexit
import contextlib
import fcntl
import gc
import importlib
import json
import os
import runpy
import selectors
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

ROOT = Path(__file__).resolve().parent.parent
PRELOADED = (
    "accelerate.commands.accelerate_cli",
    "highdicom",
    "matplotlib.backends.backend_svg",
    "pneumo.dataset.build",
    "pneumo.dataset.verify",
    "pneumo.distributed.launcher",
    "pneumo.training.cross_validation",
    "pneumo.training.run_report",
    "sklearn.isotonic",
    "sklearn.metrics",
    "sklearn.model_selection",
    "torch._dynamo",
    "torch.distributed.run",
    "torch.utils.tensorboard",
)
"""What the commands import, most of it when they need it."""
FORWARDED = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
MAX_FILES = 64
"""Open files with higher numbers are not passed on."""
NUMBER = 4
"""Bytes of a number: the length of a request, a process id, an exit code."""


@cache
def executable() -> Path:
    """Return the program; the Python that it asks ends with this process."""
    directory = tempfile.TemporaryDirectory(prefix="warm-python-")
    address, program = Path(directory.name) / "socket", Path(directory.name) / "python"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(address))
        listener.listen(MAX_FILES)
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        server = subprocess.Popen(
            [sys.executable, __file__, "serve", str(listener.fileno()), str(program)],
            stdin=subprocess.PIPE, pass_fds=[listener.fileno()], env=os.environ | {"PYTHONPATH": path},
        )  # fmt: skip
    words = shlex.join([sys.executable, "-S", "-E", __file__, "ask", str(address)])
    program.write_text(f'#!/bin/sh\nexec {words} "$@"\n')
    program.chmod(0o755)
    _kept.append((directory, server))
    return program


_kept: list[object] = []
"""The directory, and the server with the pipe that is closed at the end of this process."""


# -- the program ------------------------------------------------------------------------------------------------------


def ask(address: str, words: Sequence[str]) -> NoReturn:
    """Have the arguments of a ``python`` run, pass signals on, and end as the process that ran them."""
    signal.pthread_sigmask(signal.SIG_BLOCK, FORWARDED)
    files = [number for number in range(MAX_FILES) if _is_open(number)]
    request = {"words": words, "files": files, "environ": dict(os.environ), "directory": str(Path.cwd())}
    text = json.dumps(request | {"cores": list(os.sched_getaffinity(0)), "mask": _mask()}).encode()
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(address)
        socket.send_fds(server, [len(text).to_bytes(NUMBER)], files)
        server.sendall(text)
        process = _receive_number(server)
        for number in FORWARDED:
            signal.signal(number, lambda number, _: _send(process, number))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, FORWARDED)
        code = _receive_number(server)
    if code < 0:
        if -code != signal.SIGKILL:
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


def _is_open(number: int) -> bool:
    try:
        fcntl.fcntl(number, fcntl.F_GETFD)
    except OSError:
        return False
    return True


def _mask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def _send(process: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, number)


def _receive(connection: socket.socket, size: int) -> bytes:
    received = b""
    while len(received) < size:
        more = connection.recv(size - len(received))
        if not more:
            raise EOFError
        received += more
    return received


def _receive_number(connection: socket.socket) -> int:
    return int.from_bytes(_receive(connection, NUMBER), signed=True)


# -- the Python that forks --------------------------------------------------------------------------------------------


class Server:
    """Forks for each request."""

    def __init__(self, listener: socket.socket) -> None:
        self.listener = listener
        self.selector = selectors.DefaultSelector()
        self.connections: dict[int, socket.socket] = {}
        """Of the processes that run."""
        self.selector.register(listener, selectors.EVENT_READ, self._fork)
        self.selector.register(0, selectors.EVENT_READ, self._end)
        self.request: dict[str, Any] | None = None

    def run(self) -> dict[str, Any]:
        """Return the request, in each process that was forked for one."""
        while self.request is None:
            for key, _ in self.selector.select():
                key.data()
                if self.request is not None:
                    break
        return self.request

    def _fork(self) -> None:
        connection, _ = self.listener.accept()
        length, files, _, _ = socket.recv_fds(connection, NUMBER, MAX_FILES)
        request = json.loads(_receive(connection, int.from_bytes(length)))
        process = os.fork()
        if process == 0:
            for own in (self.selector, self.listener, connection, *self.connections.values()):
                own.close()
            _take(dict(zip(request["files"], files, strict=True)))
            self.request = request
            return
        for file in files:
            os.close(file)
        self.connections[process] = connection
        connection.sendall(process.to_bytes(NUMBER))
        self.selector.register(connection, selectors.EVENT_READ, lambda: self._kill(process))
        ended = os.pidfd_open(process)
        self.selector.register(ended, selectors.EVENT_READ, lambda: self._report(process, ended))

    def _kill(self, process: int) -> None:
        """End a process whose program has ended."""
        self.selector.unregister(self.connections[process])
        os.kill(process, signal.SIGKILL)

    def _report(self, process: int, ended: int) -> None:
        self.selector.unregister(ended)
        os.close(ended)
        _, status = os.waitpid(process, 0)
        with self.connections.pop(process) as connection, contextlib.suppress(KeyError, BrokenPipeError):
            self.selector.unregister(connection)
            connection.sendall(os.waitstatus_to_exitcode(status).to_bytes(NUMBER, signed=True))

    def _end(self) -> None:
        for process in self.connections:
            os.kill(process, signal.SIGKILL)
        os._exit(0)


def _take(files: dict[int, int]) -> None:
    """Give open files the numbers that they have in the program."""
    moved = {number: fcntl.fcntl(file, fcntl.F_DUPFD, 2 * MAX_FILES) for number, file in files.items()}
    for file in files.values():
        os.close(file)
    for number, file in moved.items():
        os.dup2(file, number, inheritable=True)
        os.close(file)


def _become(request: dict[str, Any], program: str) -> None:
    """Take the place of the Python that was asked for: its environment, its place, its cores and its files."""
    # What this process was started with has no part in it.
    own = {str(Path(__file__).parent), *os.environ["PYTHONPATH"].split(os.pathsep)} - {str(ROOT)}
    os.environ.clear()
    os.environ.update(request["environ"])
    os.chdir(request["directory"])
    os.sched_setaffinity(0, request["cores"])
    os.umask(request["mask"])
    for number in FORWARDED:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    sys.modules["numpy"].random.seed()  # of what every Python draws anew
    sys.executable = program
    sys.stdin = open(0, closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False)  # noqa: SIM115
    path = [place for place in request["environ"].get("PYTHONPATH", "").split(os.pathsep) if place]
    sys.path[:] = [*path, *(place for place in sys.path if place not in own)]
    for place in path:
        if (Path(place) / "sitecustomize.py").is_file():
            runpy.run_path(str(Path(place) / "sitecustomize.py"))
            break


def _run(words: list[str]) -> None:
    """Run what the arguments of a ``python`` name."""
    while words[0] in {"-u", "-B"}:
        del words[0]
    kind = words.pop(0) if words[0] in {"-c", "-m"} else ""
    sys.argv = [kind or words[0], *words[1:]]
    if kind == "-c":
        sys.path.insert(0, "")
        exec(compile(words[0], "<string>", "exec"), {"__name__": "__main__"})
    elif kind == "-m":
        sys.path.insert(0, str(Path.cwd()))
        sys.modules.pop(words[0], None)
        runpy.run_module(words[0], run_name="__main__", alter_sys=True)
    else:
        sys.path.insert(0, str(Path(words[0]).resolve().parent))
        runpy.run_path(words[0], run_name="__main__")


def _end(words: list[str]) -> NoReturn:
    """Run them and end as Python does, but for the clean-up of all modules, which takes .6 s."""
    code: object = 1
    try:
        _run(words)
        code = 0
    except SystemExit as ended:
        code = ended.code or 0
        if not isinstance(code, int):
            sys.stderr.write(f"{code}\n")
            code = 1
    except BaseException as error:
        traceback.print_exception(error)
        code = -signal.SIGINT if isinstance(error, KeyboardInterrupt) else 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    if code == -signal.SIGINT:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    os._exit(int(code))


def _leave_charts_empty() -> None:
    charts = importlib.import_module("pneumo.reporting.html.charts")
    chart = importlib.import_module("pneumo.reporting.html.chart")
    charts.to_svg = lambda _, description: chart.Chart(svg="<svg></svg>", description=description)


def serve(descriptor: int, program: str) -> NoReturn:
    """Serve; each process that is forked for a request runs it."""
    for name in PRELOADED:
        importlib.import_module(name)
    _leave_charts_empty()
    gc.collect()
    gc.freeze()
    request = Server(socket.socket(fileno=descriptor)).run()
    _become(request, program)
    _end(request["words"])


if __name__ == "__main__":
    if sys.argv[1] == "ask":
        ask(sys.argv[2], sys.argv[3:])
    serve(int(sys.argv[2]), sys.argv[3])
