"""Python imports this when it starts: a command is interrupted at the instant at which it has published a certain file.

``INTERRUPT_AT`` is a regular expression of the file's path, ``INTERRUPT_RANK`` the rank that is meant, any if it is
empty. Then the process makes ``reached`` in ``INTERRUPT_DIRECTORY``, once for all processes, and, by ``INTERRUPT_BY``,
sends itself the signal of that number, or waits: for the next ``signal``, which it gets afterwards, or for a file
``go`` there. A checkpoint is published by a thread, which signals do not reach: it waits until the process got one.
"""

import os
import re
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

AT, BY, RANK = (os.environ[f"INTERRUPT_{name}"] for name in ("AT", "BY", "RANK"))
DIRECTORY = Path(os.environ["INTERRUPT_DIRECTORY"])
STOPS = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


READ, WRITE = os.pipe()
if BY == "signal":
    os.set_blocking(WRITE, False)
    # Each signal that the process gets is written there as a byte.
    signal.set_wakeup_fd(WRITE)


def interrupt_after(publish: Callable[..., None]) -> Callable[..., None]:
    def publish_and_interrupt(source: Any, target: Any, **options: Any) -> None:
        publish(source, target, **options)
        if re.search(AT, os.fspath(target)) and RANK in ("", os.environ.get("RANK")) and is_first():
            interrupt()

    return publish_and_interrupt


def is_first() -> bool:
    # Before the file is there, or a signal could come first.
    if BY == "signal" and is_main():
        signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
    try:
        (DIRECTORY / "reached").touch(exist_ok=False)
    except FileExistsError:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)
        return False
    return True


def is_main() -> bool:
    return threading.current_thread() is threading.main_thread()


def interrupt() -> None:
    if BY == "signal" and not is_main():
        while os.read(READ, 1)[0] not in STOPS:
            pass
    elif BY == "signal":
        os.kill(os.getpid(), signal.sigwait(STOPS))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)
    elif BY == "go":
        while not (DIRECTORY / "go").exists():
            time.sleep(0.01)
    else:
        os.kill(os.getpid(), int(BY))


os.rename, os.replace = interrupt_after(os.rename), interrupt_after(os.replace)
