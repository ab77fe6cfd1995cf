"""A directory for data that must not outlive the process that works on it, however that process ends."""

import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pneumo.runtime.files import temporary_prefix

_REMOVER = """
import os, shutil, sys, time
sys.stdin.buffer.read()
left, end = True, time.monotonic() + float(sys.argv[2])
while left or time.monotonic() < end:
    shutil.rmtree(sys.argv[1], ignore_errors=True)
    left = os.path.lexists(sys.argv[1]) and time.monotonic() < end + 600
    time.sleep(0.1)
"""
"""What the remover runs: it reads until the process that holds the other end of its pipe has ended."""
_LINGER_S = 5.0
"""Seconds for which the remover goes on: workers of a process that was killed may be writing for a moment."""


@contextmanager
def scratch_directory(parent: Path, name: str) -> Iterator[Path]:
    """Make a hidden directory that only this user can read; it is removed at the end of the block.

    When the process is killed (SIGKILL, as by the system when memory is short), a second process removes it. It is in
    a session of its own, so that signals for a terminal or for a process group do not reach it. Only what kills both at
    once, such as a power cut, leaves the directory; ``files.remove_temporary_files`` removes it then.

    Args:
        parent: Where it is made.
        name: Part of its name.
    """
    # Known before it is made: a signal right after that must find it, too.
    directory = parent / f"{temporary_prefix(name)}{secrets.token_hex(4)}"
    try:
        directory.mkdir(mode=0o700)
        remover = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _REMOVER, str(directory.absolute()), str(_LINGER_S)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,
        )
        try:
            yield directory
        finally:
            # Before the remover is ended: a signal that comes now must not find the data without either of the two.
            shutil.rmtree(directory, ignore_errors=True)
            remover.kill()
            remover.communicate()
    finally:
        shutil.rmtree(directory, ignore_errors=True)
