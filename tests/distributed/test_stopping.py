"""The stop flag."""

import signal
import subprocess
import sys
import threading

from waiting import LONG_S

from pneumo.distributed.stopping import StopFlag


def test_a_signal_sets_the_flag_and_a_second_interrupt_ends_the_process() -> None:
    script = """
import os, signal
from pneumo.distributed.stopping import StopFlag
flag = StopFlag()
assert not flag
os.kill(os.getpid(), signal.SIGUSR1)
assert flag and flag.signal_name == "SIGUSR1"
os.kill(os.getpid(), signal.SIGTERM)
print("still here", flush=True)
os.kill(os.getpid(), signal.SIGINT)
print("never printed", flush=True)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=LONG_S, check=False)
    assert done.stdout == "still here\n"
    assert done.returncode == -signal.SIGINT


def test_where_nothing_is_to_be_saved_the_first_signal_raises_and_no_later_one_disturbs_the_end() -> None:
    script = """
import os, signal
from pneumo.distributed.stopping import StopFlag
from pneumo.runtime.errors import StopRequested
flag = StopFlag()
try:
    with flag.raising("the metrics"):
        try:
            os.kill(os.getpid(), signal.SIGUSR1)
        except Exception:
            print("taken for an error")
        print("never printed")
except StopRequested as error:
    os.kill(os.getpid(), signal.SIGTERM)
    print(error)
try:
    with flag.raising("the submission"):
        print("never printed")
except StopRequested as error:
    print(error)
flag.signal_name = ""
with flag.raising("nothing"):
    pass
os.kill(os.getpid(), signal.SIGTERM)
print("behind it", flag.signal_name)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=LONG_S, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == (
        "during the metrics; received SIGUSR1\nduring the submission; received SIGTERM\nbehind it SIGTERM\n"
    )


HANGUP = """
import os, signal
from pneumo.distributed.stopping import StopFlag
flag = StopFlag()
os.kill(os.getpid(), signal.SIGHUP)
print(flag.signal_name, flush=True)
"""


def test_a_closed_terminal_is_a_request_to_stop() -> None:
    done = subprocess.run(
        [sys.executable, "-c", HANGUP], stdout=subprocess.PIPE, text=True, timeout=LONG_S, check=False
    )
    assert done.stdout == "SIGHUP\n"


def test_a_command_under_nohup_ignores_a_closed_terminal() -> None:
    done = subprocess.run(
        ["nohup", sys.executable, "-c", HANGUP], capture_output=True, text=True, timeout=LONG_S, check=False
    )
    assert done.returncode == 0
    assert done.stdout == "\n"


def test_no_handler_is_installed_outside_the_main_thread() -> None:
    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=StopFlag)
    thread.start()
    thread.join()
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_signal_exits_through_what_cleans_up_and_a_second_one_does_not_interrupt_it() -> None:
    script = """
import os, signal
from pneumo.distributed.stopping import exiting_on_signals
before = signal.getsignal(signal.SIGTERM)
with exiting_on_signals():
    assert signal.getsignal(signal.SIGTERM) != before
assert signal.getsignal(signal.SIGTERM) == before
with exiting_on_signals():
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        print("never printed")
    finally:
        os.kill(os.getpid(), signal.SIGINT)
        print("cleaned up", flush=True)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=LONG_S, check=False)
    assert (done.stdout, done.returncode) == ("cleaned up\n", 128 + signal.SIGTERM), done.stderr
