"""The launcher of one machine: ranks, signals, exit codes, restarts."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from waiting import LONG_S, wait_until

from pneumo.distributed.launcher import Arguments
from pneumo.runtime.errors import UserError

ROOT = Path(__file__).resolve().parents[2]


def launch(*arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, ROOT / "job" / "launch.py", *arguments]
    return subprocess.Popen(
        list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd="/"
    )


def run_launcher(*arguments: object) -> tuple[int, str]:
    process = launch(*arguments)
    output, _ = process.communicate(timeout=LONG_S)
    return process.returncode, output


@pytest.fixture
def script(tmp_path: Path) -> Path:
    """A script that prints its rank's variables, then does what its first argument says."""
    path = tmp_path / "rank.py"
    path.write_text(
        """
import os, pathlib, signal, sys, time
names = ["RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR"]
# One write: with PYTHONUNBUFFERED set, print() writes the end of the line by itself, and ranks share the pipe.
os.write(1, (" ".join(os.environ[name] for name in names) + "\\n").encode())
how = sys.argv[1] if len(sys.argv) > 1 else "0"
if how == "second time":
    mark = pathlib.Path(__file__).with_suffix("." + os.environ["RANK"])
    if not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
elif how == "wait":
    signal.signal(signal.SIGUSR1, lambda *_: sys.exit(3))
    pathlib.Path(__file__).with_suffix(".ready" + os.environ["RANK"]).touch()
    time.sleep(1800)
elif os.environ["RANK"] == "1":
    sys.exit(int(how))
"""
    )
    return path


def test_each_rank_gets_its_variables(script: Path) -> None:
    code, output = run_launcher("--processes", 3, script)
    assert code == 0
    assert sorted(filter(None, output.split("\n"))) == [f"{r} 3 {r} 3 127.0.0.1" for r in range(3)]


def test_auto_starts_one_rank_for_each_gpu(script: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = script.with_name("nvidia-smi")
    tool.write_text("#!/bin/sh\n[ $1 = --list-gpus ] && echo 'GPU 0: A100' && echo 'GPU 1: A100'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{script.parent}:{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    code, output = run_launcher(script)
    assert code == 0, output
    assert sorted(filter(None, output.split("\n"))) == [f"{r} 2 {r} 2 127.0.0.1" for r in range(2)]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert run_launcher(script) == (0, "0 1 0 1 127.0.0.1\n")


def test_ranks_are_counted_over_machines(script: Path) -> None:
    arguments = ["--processes", 2, "--nodes", 3, "--node-rank", 2, "--master", "first.example:29500", "--", script]
    code, output = run_launcher(*arguments)
    assert code == 0
    assert sorted(filter(None, output.split("\n"))) == ["4 6 0 2 first.example", "5 6 1 2 first.example"]


@pytest.mark.parametrize("code", [0, 1, 2, 3, 7])
def test_exit_codes_are_passed_on(script: Path, code: int) -> None:
    found, output = run_launcher("--processes", 2, script, code)
    assert found == (1 if code == 7 else code)
    assert ("rank 1 was the first to fail" in output) == (code != 0)


def test_ranks_are_restarted_after_a_crash_and_not_after_wrong_input(script: Path) -> None:
    code, output = run_launcher("--processes", 2, "--restarts", 1, script, "second time")
    assert code == 0, output
    assert "restarting the ranks (1 of 1)" in output
    assert output.count("0 2 0 2") == 2
    code, output = run_launcher("--processes", 2, "--restarts", 5, script, 2)
    assert code == 2
    assert output.count("0 2 0 2") == 1


@pytest.mark.parametrize(("number", "code"), [(signal.SIGUSR1, 3), (signal.SIGTERM, 3)])
def test_signals_reach_the_ranks(script: Path, number: signal.Signals, code: int) -> None:
    process = launch("--processes", 2, "--restarts", 3, script, "wait")
    wait_until(lambda: all(script.with_suffix(f".ready{rank}").exists() for rank in (0, 1)), process)
    process.send_signal(number)
    output, _ = process.communicate(timeout=LONG_S)
    assert process.returncode == code, output
    assert "restarting" not in output


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"processes": 0}, "--processes 0"),
        ({"nodes": 2}, "without --master"),
        ({"nodes": 2, "node_rank": 2, "master": "a:1"}, "--node-rank 2"),
        ({"master": "host"}, "--master host"),
        ({"master": "host:99999"}, "--master host:99999"),
    ],
)
def test_flags_that_contradict_each_other_are_refused(fields: dict[str, object], text: str) -> None:
    with pytest.raises(UserError, match=text):
        Arguments(**fields)  # type: ignore[arg-type]


def test_wrong_arguments_give_an_error_without_traceback() -> None:
    for arguments, text in [
        ([], "no script to start"),
        (["nowhere/x.py"], "no script nowhere/x.py; expected job/train.py or another of the commands"),
        (["--processes", "many", "x.py"], "Error parsing --processes"),
    ]:
        code, output = run_launcher(*arguments)
        assert code == 2
        assert text in output
        assert "Traceback" not in output
