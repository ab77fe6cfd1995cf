"""The log of a command in the directory that it writes: everything, whatever is printed, and never a reason to fail."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

COMMAND = """
import sys, pathlib
from pneumo.runtime import cli, log_file
from pneumo.runtime.console import log, Progress
from pneumo.runtime import console
from pneumo.runtime.config import config_dataclass
from pneumo.runtime.verbosity import Verbosity, VerbosityFlags
from dataclasses import field
console.LINE_INTERVAL_S = 0.0
@config_dataclass
class Arguments:
    out: pathlib.Path
    fail: bool = False
    verbosity: VerbosityFlags = field(default_factory=Verbosity)
def main():
    arguments = cli.parse(Arguments, sys.argv[1:], prog="x.py", description="")
    log.info("before the file")
    log_file.start(arguments.out, "x", "rank-3")
    log_file.start(arguments.out, "again")
    log.debug("a detail of %s", "\x1b[2Jname")
    with Progress("work", 2, unit="images") as progress:
        progress.step(2)
    log.warning("a warning")
    if arguments.fail:
        raise RuntimeError("broken")
cli.run(main)
"""


def run(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", COMMAND, *map(str, words)], capture_output=True, text=True, check=False
    )


def only_log(directory: Path) -> str:
    (path,) = (directory / "logs").iterdir()
    assert re.fullmatch(r"x-\d{8}T\d{6}Z-.+-\d+-rank-3\.log", path.name)
    return path.read_text()


@pytest.mark.parametrize(
    ("flags", "printed"),
    [
        ([], {"before the file", "work: 2 of 2", "a warning"}),
        (["--quiet"], {"a warning"}),
        (["--verbose"], {"before the file", "a detail of", "work: 2 of 2", "a warning"}),
    ],
    ids=["normal", "quiet", "verbose"],
)
def test_the_file_has_everything_whatever_is_printed(tmp_path: Path, flags: list[str], printed: set[str]) -> None:
    ended = run("--out", tmp_path, *flags)
    assert ended.returncode == 0, ended.stderr
    everything = {"before the file", "a detail of", "work: 2 of 2", "a warning"}
    assert {text for text in everything if text in ended.stderr} == printed
    written = only_log(tmp_path)
    assert all(text in written for text in everything)
    first, *_, last = written.splitlines()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z INFO -c --out .*", first)
    assert last.endswith("exit code 0")
    assert "pneumo " in written
    assert r"\x1b[2Jname" in written
    assert "exit code" not in ended.stderr


def test_a_bug_is_in_the_file_with_its_traceback(tmp_path: Path) -> None:
    ended = run("--out", tmp_path, "--fail")
    assert ended.returncode == 1
    assert ended.stderr.count("RuntimeError: broken") == 1
    written = only_log(tmp_path)
    assert "Traceback (most recent call last)" in written
    assert "RuntimeError: broken" in written
    assert written.endswith("exit code 1\n")


def test_a_directory_that_cannot_be_written_to_costs_a_warning(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("a file")
    ended = run("--out", tmp_path)
    assert ended.returncode == 0
    assert "no log is kept in" in ended.stderr
    assert (tmp_path / "logs").read_text() == "a file"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_disk_ends_the_log_and_not_the_work(tmp_path: Path) -> None:
    full = COMMAND.replace(
        "cli.run(main)", 'log_file._FileHandler._open = lambda self: open("/dev/full", "w")\ncli.run(main)'
    )
    ended = subprocess.run(
        [sys.executable, "-c", full, "--out", str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr.count("No space left on device") == 1
    assert "a warning" in ended.stderr
