"""Ties a rank to the launcher that started it: it reports that all ranks have met, and stops when the launcher dies.

A launcher that is killed cannot pass a signal on. Its ranks would train on without anyone who knows of them, and hold
the locks of their folds.
"""

import os
import signal
import stat
import threading
import time
from collections.abc import Mapping

from pneumo.distributed.environment import LAUNCHER_PIPE, launcher_pid
from pneumo.runtime.console import log

INTERVAL_S = 1.0


def stop_with_launcher(environ: Mapping[str, str]) -> None:
    """Send SIGTERM to this process when its launcher ends, as the launcher does with the signals that it gets."""
    pid = launcher_pid(environ)
    if pid is not None:
        threading.Thread(target=_watch, args=(pid, os.getppid() == pid), name="launcher watch", daemon=True).start()


def report_meeting(environ: Mapping[str, str]) -> None:
    """Tell job/launch.py that all ranks have met: from now on their watchdogs end those that lose a peer."""
    try:
        descriptor = int(environ.get(LAUNCHER_PIPE, ""))
        # A script between the launcher and this rank has closed it, and the number may be another file's.
        if stat.S_ISFIFO(os.fstat(descriptor).st_mode):
            os.write(descriptor, b".")
    except (ValueError, OSError):
        return


def _watch(pid: int, is_parent: bool) -> None:
    while os.getppid() == pid if is_parent else _exists(pid):
        time.sleep(INTERVAL_S)
    log.warning("the launcher of this rank (process %d) has ended: stopping", pid)
    os.kill(os.getpid(), signal.SIGTERM)


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
