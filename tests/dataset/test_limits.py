"""Time and memory that reading one file may take, and the rejection of a file that ends its reader."""

import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from waiting import LONG_S

from pneumo.dataset import limits
from pneumo.dataset.limits import Limits
from pneumo.dicom.rejection import FileRejectedError, Reason

IN_A_PROCESS = """
import cv2
import json, resource, signal, time
from pathlib import Path
from pneumo.dataset import limits

def fail(path):
    raise KeyError(path.name)

before = limits._data_bytes()
def work(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass

limits.apply(limits.Limits(time_limit=0.5, memory_limit=0.5))
limits._TIMERS[signal.ITIMER_REAL] = {wall}
work(0.7)  # no file is being read
limits.timed(lambda path: time.sleep(0.7), Path("waits"))  # as on a busy machine
limits.timed(lambda path: work(0.1), Path("quick"))
try:
    limits.timed(fail, Path("fails"))
except limits.FileRejectedError:
    pass
work(0.7)  # the timer of a file that failed is off, too
soft = resource.getrlimit(resource.RLIMIT_DATA)[0]
print(json.dumps([soft - before, resource.getrlimit(resource.RLIMIT_CORE)[0]]), flush=True)
limits.timed(lambda path: {hangs}, Path("hangs"))
"""


# A busy machine may take more than ten times the processor time on the clock: what works has the time that it needs.
@pytest.mark.parametrize(
    ("hangs", "wall", "ends_by"), [("work(600)", 1200, signal.SIGPROF), ("time.sleep(600)", 10, signal.SIGALRM)]
)
def test_timers_run_while_a_file_is_read_and_end_the_process(hangs: str, wall: int, ends_by: signal.Signals) -> None:
    script = IN_A_PROCESS.replace("{hangs}", hangs).replace("{wall}", str(wall))
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=LONG_S, check=False)
    assert ended.returncode == -ends_by, ended.stderr
    memory, core = eval(ended.stdout)
    assert abs(memory - 0.5 * 2**30) < 2**26
    assert core == 0


def test_the_clock_has_ten_times_the_processor_time() -> None:
    assert limits._TIMERS == {signal.ITIMER_PROF: 1, signal.ITIMER_REAL: 10}


def test_without_apply_there_is_no_timer() -> None:
    limits.timed(lambda path: None, Path("x"))
    assert signal.getitimer(signal.ITIMER_REAL) == signal.getitimer(signal.ITIMER_PROF) == (0, 0)
    assert resource.getrlimit(resource.RLIMIT_DATA)[0] == resource.RLIM_INFINITY


def test_result_and_rejection_of_the_reader_come_through() -> None:
    assert limits.timed(lambda path: path.name, Path("x")) == "x"
    rejected = FileRejectedError(Reason.NO_ID, "header", "found", "expected", "action")

    def reject(path: Path) -> None:
        raise rejected

    with pytest.raises(FileRejectedError) as caught:
        limits.timed(reject, Path("x"))
    assert caught.value is rejected


def test_any_other_exception_is_a_rejection_that_does_not_repeat_the_file() -> None:
    def fail(path: Path) -> None:
        raise RuntimeError("PATIENT^NAME")

    with pytest.raises(FileRejectedError) as caught:
        limits.timed(fail, Path("x"))
    assert (caught.value.reason, caught.value.phase) == (Reason.CRASHED, "read")
    assert caught.value.found == "an unexpected RuntimeError"
    assert "PATIENT" not in str(caught.value)


@pytest.mark.parametrize(
    ("exit_code", "reason", "found"),
    [
        (-signal.SIGPROF, Reason.TOOK_TOO_LONG, "not read after 7 s of processor time"),
        (-signal.SIGALRM, Reason.TOOK_TOO_LONG, "not read after 70 s, most of them waiting"),
        (-signal.SIGKILL, Reason.TOO_MUCH_MEMORY, "the process that read it was killed"),
        (-signal.SIGSEGV, Reason.CRASHED, "the process that read it ended by SIGSEGV"),
        (139, Reason.CRASHED, "the process that read it ended with exit code 139"),
        (0, Reason.CRASHED, "the process that read it ended with exit code 0"),
    ],
)
def test_exit_codes_become_reasons(exit_code: int, reason: Reason, found: str) -> None:
    rejection = limits.rejection_of_exit(exit_code, Limits(time_limit=7))
    assert rejection.reason == reason
    assert rejection.found.startswith(found)
