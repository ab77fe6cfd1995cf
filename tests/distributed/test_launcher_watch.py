"""Ranks whose peer dies before they have met, and ranks whose launcher is killed, under job/launch.py and torchrun."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from waiting import LONG_S, wait_until

from pneumo.distributed.environment import LAUNCHER_PID, LAUNCHER_PIPE
from pneumo.distributed.launcher_watch import report_meeting, stop_with_launcher
from pneumo.distributed.rendezvous import TOO_FEW

ROOT = Path(__file__).resolve().parents[2]
RANK = str(Path(__file__).with_name("starting_rank.py"))
LAUNCHERS = {
    "launch.py": [str(ROOT / "job" / "launch.py"), "--processes", "2", RANK],
    "torchrun": ["-m", "torch.distributed.run", "--nproc_per_node", "2", "--monitor_interval", "0.2", RANK],
    "accelerate": [
        *("-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1"),
        *("--mixed_precision", "no", "--dynamo_backend", "no", RANK),
    ],
}

LAUNCHED = [pytest.param(name, marks=() if name == "launch.py" else pytest.mark.slow) for name in LAUNCHERS]
"""Ours in the default suite, the others beside the slow tests."""


def launch(launcher: str, what: Sequence[str], output: Path) -> subprocess.Popen[bytes]:
    with output.open("wb") as file:
        command = [sys.executable, *LAUNCHERS[launcher], *what]
        return subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, env=os.environ | {"PYTHONPATH": ROOT})


def wait_for(text: str, output: Path, count: int = 1) -> str:
    wait_until(lambda: output.read_text(errors="replace").count(text) >= count)
    return output.read_text(errors="replace")


@pytest.mark.parametrize("launcher", LAUNCHED)
def test_a_rank_that_dies_before_all_have_met_ends_the_others(launcher: str, tmp_path: Path) -> None:
    output = tmp_path / "output"
    # The rank timeout is 15 minutes.
    assert launch(launcher, ["die", "1"], output).wait(LONG_S) == 1
    text = output.read_text()
    assert "Traceback (most recent call last):\n  File" not in text.partition("SIGTERM")[0]
    # What the others say when nobody has ended them and their time is up.
    assert TOO_FEW not in text
    if launcher == "launch.py":
        assert "rank 1 was the first to fail: killed by SIGKILL" in text
        assert "the ranks had not met yet, and now cannot: ending the others" in text


@pytest.mark.parametrize("launcher", LAUNCHED)
def test_ranks_stop_and_save_when_their_launcher_is_killed(launcher: str, tmp_path: Path) -> None:
    output = tmp_path / "output"
    process = launch(launcher, ["train"], output)
    found = wait_for("pid ", output, 2)
    process.kill()
    process.wait()
    # All ranks of the step stop when the first of them has noticed.
    wait_for("stopped on request, state saved: ", output, 2)
    assert f"the launcher of this rank (process {process.pid}) has ended: stopping" in output.read_text()
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in re.findall(r"pid (\d+)", found)))


def test_a_closed_terminal_stops_the_ranks_of_a_launcher(tmp_path: Path) -> None:
    output = tmp_path / "output"
    process = launch("launch.py", ["train"], output)
    wait_for("pid ", output, 2)
    process.send_signal(signal.SIGHUP)
    assert process.wait(LONG_S) == 3
    assert "stopped on request, state saved: SIGHUP at a step" in output.read_text()


def test_a_rank_whose_launcher_has_ended_already_is_stopped() -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    script = "import os, time\nfrom pneumo.distributed.launcher_watch import *\nstop_with_launcher(os.environ)\n"
    done = subprocess.run(
        [sys.executable, "-c", f"{script}time.sleep(1800)"],
        env=os.environ | {LAUNCHER_PID: str(gone.pid)},
        timeout=LONG_S,
        check=False,
    )
    assert done.returncode == -signal.SIGTERM


def test_a_meeting_is_reported_to_a_pipe_and_to_nothing_else(tmp_path: Path) -> None:
    read_end, write_end = os.pipe()
    report_meeting({LAUNCHER_PIPE: str(write_end)})
    assert os.read(read_end, 10) == b"."
    os.close(read_end)
    # The launcher has ended; no launcher; a number that a script between them has used again.
    report_meeting({LAUNCHER_PIPE: str(write_end)})
    os.close(write_end)
    report_meeting({LAUNCHER_PIPE: str(write_end)})
    report_meeting({})
    with (tmp_path / "file").open("wb") as file:
        report_meeting({LAUNCHER_PIPE: str(file.fileno())})
    assert (tmp_path / "file").read_bytes() == b""


def test_a_process_without_a_launcher_is_not_watched() -> None:
    import threading

    before = threading.active_count()
    stop_with_launcher({})
    assert threading.active_count() == before
