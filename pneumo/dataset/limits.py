"""Limits of time and memory for reading one file, which the kernel enforces.

Time: two timers whose signals end the process by their default action. One counts the processor time of the process,
user and system (``SIGPROF``), so that a machine that is busy with other things costs no good file. The other counts the
time on the clock, ten times as much, for a read that waits instead of working (``SIGALRM``). A thread that measures the
time would not run, because a decoder that never returns holds the interpreter's lock, and the parent does not know when
a worker opens its next file.

Memory: ``RLIMIT_DATA``, on top of what a worker holds when it starts. An allocation beyond it fails at once, which
numpy, OpenCV and Python report as an error; polling the resident size would notice too late and could only kill.
``RLIMIT_AS`` would count what costs nothing: mapped libraries and the address space that thread arenas reserve.
"""

import resource
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, TypeVar

from annotated_types import Interval

from pneumo.dicom.opening import Location
from pneumo.dicom.rejection import FileRejectedError, Reason
from pneumo.runtime.config import config_dataclass

L = TypeVar("L", bound=Location)
R = TypeVar("R")

_DECODABLE = "a file that the decoders read, or refuse with an error"
_REPORT = "start the same command again; when it happens again, leave it out, or report a bug with pip freeze"


@config_dataclass
class Limits:
    """Limits for reading one file; a good image takes milliseconds and, at 8192 x 8192, about 2 GiB."""

    time_limit: Annotated[float, Interval(ge=0.1, le=86_400)] = 60.0
    """Seconds of processor time that one file may take to read, and ten times as many on the clock, which a slow disk
    or a busy machine takes; then it is rejected."""
    memory_limit: Annotated[float, Interval(ge=0.01, le=1024)] = 4.0
    """GiB of memory that one file may take to read."""


@config_dataclass
class Conditions:
    """What decides, beside a file itself, whether it can be read."""

    limits: Limits
    workers: int
    """Worker processes, which share the machine's memory."""


WAITING = 10
"""Times the processor time that a file may take on the clock.

With a load of 27 on two cores, reading 977 files took 7 times their processor time, and a good file takes seconds of
the minute that it has. More would only let a read that hangs on a lost disk hold its worker for longer.
"""
_TIMERS = {signal.ITIMER_PROF: 1, signal.ITIMER_REAL: WAITING}
"""Timers, and how often each has the limit of processor time."""
TIMED_OUT = (-signal.SIGPROF, -signal.SIGALRM)
"""Exit codes of a process that a timer ended; another attempt would take as long again."""
_timeout = 0.0
"""Seconds of processor time per file in this process; 0, no limit, in all but worker processes."""


def apply(limits: Limits) -> None:
    """Set the limits of this process, a worker."""
    global _timeout  # noqa: PLW0603 (as the limits themselves, it belongs to the process)
    _timeout = limits.time_limit
    for number in (signal.SIGPROF, signal.SIGALRM):
        signal.signal(number, signal.SIG_DFL)
    import cv2

    # OpenCV's threads would add their stacks, one for each core, and the cores are busy with other files.
    cv2.setNumThreads(1)
    _set_limit(resource.RLIMIT_DATA, _data_bytes() + int(limits.memory_limit * 2**30))
    # The exit code is enough to report a crash; core dumps would fill the disk, with patients' data.
    _set_limit(resource.RLIMIT_CORE, 0)


def timed(read: Callable[[L], R], location: L) -> R:
    """Read a file; in a worker, the process ends when that takes too long.

    Raises:
        FileRejectedError: When ``read`` raises it, or any other exception: one file must not end a build.
    """
    _set_timers(_timeout)
    try:
        return read(location)
    except FileRejectedError:
        raise
    except Exception as error:
        # Its message may repeat the file's content.
        raise FileRejectedError(
            Reason.CRASHED, "read", f"an unexpected {type(error).__name__}", _DECODABLE, _REPORT
        ) from error
    finally:
        _set_timers(0)


def rejection_of_exit(exit_code: int, limits: Limits) -> FileRejectedError:
    """Return the rejection of a file whose reader process died, by the exit code of that process."""
    if exit_code == -signal.SIGPROF:
        return _took_too_long(f"not read after {limits.time_limit:g} s of processor time")
    if exit_code == -signal.SIGALRM:
        return _took_too_long(f"not read after {limits.time_limit * WAITING:g} s, most of them waiting")
    if exit_code == -signal.SIGKILL:
        return FileRejectedError(
            Reason.TOO_MUCH_MEMORY,
            "read",
            "the process that read it was killed, probably because the machine ran out of memory",
            "an image that fits into the free memory",
            "leave it out, or try fewer --workers for a good image",
        )
    ended = f"by {signal.Signals(-exit_code).name}" if exit_code < 0 else f"with exit code {exit_code}"
    return FileRejectedError(Reason.CRASHED, "read", f"the process that read it ended {ended}", _DECODABLE, _REPORT)


def _took_too_long(found: str) -> FileRejectedError:
    action = "leave it out, or raise --time-limit for a good file on a slow disk"
    return FileRejectedError(Reason.TOOK_TOO_LONG, "read", found, "a file that is read in milliseconds", action)


def _set_timers(seconds: float) -> None:
    """Start the timers of a process that has limits, or stop them with 0."""
    for timer, times in _TIMERS.items() if _timeout else ():
        signal.setitimer(timer, seconds * times)


def _set_limit(kind: int, limit: int) -> None:
    hard = resource.getrlimit(kind)[1]
    resource.setrlimit(kind, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))


def _data_bytes() -> int:
    """Return how many bytes of this process count against ``RLIMIT_DATA`` already."""
    status = Path("/proc/self/status").read_text(encoding="ascii").split()
    return 1024 * int(status[status.index("VmData:") + 1])
