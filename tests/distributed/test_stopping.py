"""The stop flag."""

import signal
import subprocess
import sys
import threading

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
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=100, check=False)
    assert done.stdout == "still here\n"
    assert done.returncode == -signal.SIGINT


def test_signals_end_the_process_again_once_the_handlers_are_restored() -> None:
    script = """
import os, signal
from pneumo.distributed.stopping import StopFlag
StopFlag().restore_default_handlers()
os.kill(os.getpid(), signal.SIGUSR1)
print("never printed", flush=True)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == -signal.SIGUSR1
    assert done.stdout == ""


HANGUP = """
import os, signal
from pneumo.distributed.stopping import StopFlag
flag = StopFlag()
os.kill(os.getpid(), signal.SIGHUP)
print(flag.signal_name)
flag.restore_default_handlers()
os.kill(os.getpid(), signal.SIGHUP)
print("still here", flush=True)
"""


def test_a_closed_terminal_is_a_request_to_stop() -> None:
    done = subprocess.run([sys.executable, "-c", HANGUP], stdout=subprocess.PIPE, text=True, timeout=100, check=False)
    assert done.returncode == -signal.SIGHUP


def test_a_command_under_nohup_ignores_a_closed_terminal() -> None:
    done = subprocess.run(
        ["nohup", sys.executable, "-c", HANGUP], capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0
    assert done.stdout == "\nstill here\n"


def test_no_handler_is_installed_outside_the_main_thread() -> None:
    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=StopFlag)
    thread.start()
    thread.join()
    assert signal.getsignal(signal.SIGTERM) is before
