"""The program that takes the place of ``python`` in tests does what ``python`` does."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import warm_python
from waiting import LONG_S

PLACE = "import os, sys; print(sys.argv, os.getcwd(), os.environ['A'], os.sched_getaffinity(0), sys.stdin.read())"


def run(program: object, *words: object, **more: object) -> tuple[int, str, str]:
    command = [str(program), *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LONG_S, check=False, **more)  # type: ignore[call-overload]
    # The error alone: from 3.13 on Python shows the line of -c, too.
    return done.returncode, done.stdout, done.stderr.rstrip().rpartition("\n")[2]


@pytest.mark.parametrize(
    ("words", "more"),
    [
        (["-c", PLACE, "b", "--c"], {"env": os.environ | {"A": "a"}, "cwd": "/", "input": "in"}),
        (["-c", "import sys; sys.exit(3)"], {}),
        (["-c", "import sys; sys.exit('a reason')"], {}),
        (["-c", "import atexit; atexit.register(print, 'last'); 1 / 0"], {}),
        (["-c", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"], {}),
        (["-c", "raise KeyboardInterrupt"], {}),
        (["-c", "import site_of_test; print(site_of_test.NAME)"], {}),
        (["-m", "site_of_test", "more"], {}),
        (["-u", "site_of_test.py", "more"], {}),
    ],
)
def test_it_does_what_python_does(words: list[str], more: dict[str, object], tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.at_start = True\n")
    (tmp_path / "site_of_test.py").write_text("import sys\nNAME = __name__\nprint(NAME, sys.argv[1:], sys.at_start)\n")
    environ = {"env": os.environ | {"PYTHONPATH": str(tmp_path)}, "cwd": tmp_path} | more
    assert run(warm_python.executable(), *words, **environ) == run(sys.executable, *words, **environ)


WAITING = """
import os, signal, sys, time
signal.signal(signal.SIGUSR1, lambda *_: sys.exit(7))
print(os.getpid(), flush=True)
time.sleep(1800)
"""


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_signals_reach_the_process(number: signal.Signals) -> None:
    command = [warm_python.executable(), "-c", WAITING]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        inner = int(process.stdout.readline())
        process.send_signal(number)
        # Its output ends when the process has ended.
        assert process.stdout.read() == ""
        assert process.wait(LONG_S) == (7 if number == signal.SIGUSR1 else -number)
    assert inner != process.pid


def test_python_that_it_starts_is_warm_too_and_files_are_passed_on() -> None:
    read_end, write_end = os.pipe()
    script = "import os, subprocess, sys; 'torch' in sys.modules and subprocess.run([sys.executable, *sys.argv[1:]],"
    script += f" pass_fds=[{write_end}])"
    inner = f"import os, sys; os.write({write_end}, str('torch' in sys.modules).encode())"
    assert run(warm_python.executable(), "-c", script, "-c", inner, pass_fds=[write_end])[0] == 0
    os.close(write_end)
    assert os.read(read_end, 9) == b"True"
    os.close(read_end)
