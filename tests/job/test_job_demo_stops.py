"""A demo, or a benchmark, that is stopped leaves no process, and prints no traceback."""

import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from job_commands import COLD, JOB
from waiting import LONG_S, wait_until


@pytest.fixture
def temporary(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as directory:
        monkeypatch.setenv("TMPDIR", directory)
        yield Path(directory)


def start_in_a_session(words: list[object]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*COLD, *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def members(session: int) -> list[int]:
    """Return the processes of a session that have not ended."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, of = path.read_text().rpartition(")")[2].split()[:4]
        except OSError:
            continue
        if int(of) == session and state != "Z":
            found.append(int(path.parent.name))
    return found


def stop(process: subprocess.Popen[str], number: signal.Signals, to_all: bool) -> str:
    """Send a signal as a terminal or a batch system does; return the output once no process is left."""
    (os.killpg if to_all else os.kill)(process.pid, number)
    output, _ = process.communicate(timeout=LONG_S)
    assert process.returncode == 128 + number, output
    assert "Traceback" not in output
    wait_until(lambda: not members(process.pid))
    return output


@pytest.mark.parametrize(
    ("number", "to_all"), [(signal.SIGINT, True), (signal.SIGTERM, False)], ids=["Ctrl-C", "SIGTERM"]
)
def test_a_demo_that_draws(tmp_path: Path, temporary: Path, number: signal.Signals, to_all: bool) -> None:
    process = start_in_a_session([JOB / "demo.py", "--out", tmp_path / "out", "--images", 50_000])
    wait_until(lambda: list(tmp_path.rglob("*.dcm")), process)
    stop(process, number, to_all)


@pytest.mark.slow
def test_a_demo_that_trains(tmp_path: Path, temporary: Path) -> None:
    process = start_in_a_session([JOB / "demo.py", "--out", tmp_path / "out", "--images", 20, "--test-images", 1])
    wait_until(lambda: list(tmp_path.glob("out/fold-*/events*")), process)
    # Its ranks learn of it from the launcher alone.
    stop(process, signal.SIGTERM, to_all=False)


@pytest.mark.slow
def test_a_benchmark_shows_what_is_complete(temporary: Path) -> None:
    sizes = ["--histograms", 10, "--rules", 1, "--repeat", 1, "--images", 50_000, "--source-size", 64]
    process = start_in_a_session([JOB / "bench.py", "search", "load", *sizes])
    wait_until(lambda: list(temporary.rglob("*.dcm")), process)
    output = stop(process, signal.SIGINT, to_all=True)
    assert "search  " in output
    assert not list(temporary.glob("pneumo-bench-*"))
