"""A scratch directory is gone when its process is, however that ended."""

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from waiting import LONG_S, wait_until

from pneumo.runtime.files import is_temporary
from pneumo.runtime.scratch import scratch_directory

SCRIPT = """
import sys, time
from pathlib import Path
from pneumo.runtime.scratch import scratch_directory
with scratch_directory(Path(sys.argv[1]), "images") as directory:
    (directory / "deep").mkdir()
    (directory / "deep" / "patient.tar").write_text("pixels")
    print("ready", flush=True)
    time.sleep(600)
"""


def test_it_is_hidden_private_and_removed_at_the_end(tmp_path: Path) -> None:
    with scratch_directory(tmp_path, "images") as directory:
        assert is_temporary(directory, "images")
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
        (directory / "x").touch()
    assert not list(tmp_path.iterdir())
    with pytest.raises(KeyError), scratch_directory(tmp_path, "images") as directory:
        (directory / "x").touch()
        raise KeyError
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV])
@pytest.mark.parametrize("group", [False, True])
def test_it_is_removed_when_its_process_or_the_terminals_is_killed(
    tmp_path: Path, number: signal.Signals, group: bool
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(tmp_path)], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    assert list(tmp_path.rglob("patient.tar"))
    (os.killpg if group else os.kill)(process.pid, number)
    assert process.wait(LONG_S) == -number
    process.stdout.close()
    wait_until(lambda: not list(tmp_path.iterdir()))
