"""Progress: lines now and then where there is no terminal, nothing on silent ranks."""

import logging
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from waiting import LONG_S

from pneumo.runtime import console
from pneumo.runtime.console import Progress


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> pytest.LogCaptureFixture:
    monkeypatch.setattr(console.log, "propagate", True)
    caplog.set_level(logging.INFO, logger="pneumo")
    return caplog


def test_lines_have_count_and_note(lines: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "LINE_INTERVAL_S", 0.0)
    with Progress("train", 10, done=4, unit="steps") as progress:
        progress.step(note="loss 0.5")
    assert "train: 5 of 10 steps" in lines.text
    assert "loss 0.5" in lines.text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "0:00"), (9, "0:09"), (59.6, "1:00"), (750, "12:30"), (11_100, "3:05:00"), (86_399.7, "1 day, 0:00:00"),
        (183_900, "2 days, 3:05:00"),
    ],
)  # fmt: skip
def test_durations_are_written_as_people_read_them(seconds: float, text: str) -> None:
    assert console.format_seconds(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 0 s"),
        (125, "2 min 5 s"),
        (3600, "1 h 0 min"),
        (90_061, "25 h 1 min"),
    ],
)
def test_durations_alone_have_units(seconds: float, text: str) -> None:
    assert console.format_duration(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(870_000, "870 kB"), (1_400_000, "1.4 MB"), (999e6, "999.0 MB"), (3.24e9, "3.2 GB")],
)
def test_sizes_are_written_as_people_read_them(count: int, text: str) -> None:
    assert console.format_size(count) == text


def test_lines_have_the_rate_and_the_time_left(
    lines: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console, "LINE_INTERVAL_S", 0.0)
    clock = iter([100.0, 140.0, 144.0])
    monkeypatch.setattr(console.time, "monotonic", lambda: next(clock))
    with Progress("shards", 115, done=10, unit="images") as progress:
        progress.step(5, "a.tar")
        progress.step(40)
    # The first step has the start in it.
    assert "shards: 15 of 115 images, a.tar" in lines.text
    assert "shards: 55 of 115 images (10.0/s, 0:06 left)" in lines.text


def test_steps_of_which_none_is_done_have_no_rate(
    lines: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console, "LINE_INTERVAL_S", 0.0)
    with Progress("copy", 3, unit="MB") as progress:
        progress.step(0)
        progress.step(1)
        progress.step(0)
    assert [record.getMessage() for record in lines.records] == [f"copy: {n} of 3 MB" for n in (0, 1, 1)]


@pytest.mark.parametrize(
    ("rate", "text"), [(12.34, "12.3/s"), (1, "1.0/s"), (0.8, "1.2 s each"), (0.05, "20 s each"), (1 / 37, "37 s each")]
)
def test_a_rate_below_one_is_the_time_of_each(rate: float, text: str) -> None:
    assert console.format_rate(rate) == text
    assert console.format_rate(rate, "images") == text.replace("/s", " images/s")


def test_lines_do_not_come_faster_than_the_interval(lines: pytest.LogCaptureFixture) -> None:
    with Progress("shard", 1000) as progress:
        for _ in range(1000):
            progress.step()
    assert lines.text == ""


def test_a_bar_is_drawn_only_when_there_is_something_to_do(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    for total, done in ((0, 0), (3, 3)):
        with Progress("files", total, done=done, unit="files"):
            pass
    assert capsys.readouterr().err == ""
    with Progress("files", 3, done=2, unit="files") as progress:
        progress.step()
    assert "3/3" in capsys.readouterr().err


def test_a_disabled_rank_logs_nothing(lines: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "LINE_INTERVAL_S", 0.0)
    with Progress("train", 10, enabled=False) as progress:
        progress.step()
    assert lines.text == ""


def test_control_characters_of_a_message_are_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    console.set_up_logging("rank 1")
    console.log.warning("skipped %s\nand %s", "\x1b[2Jgone", "caf\udce9")
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition("WARNING ")[2] or line for line in lines] == [r"skipped \x1b[2Jgone", r"and caf\xe9"]


UNREAD = """
import os, sys, time
from pneumo.distributed.stopping import StopFlag
from pneumo.runtime import cli
from pneumo.runtime.console import log
from pneumo.runtime.errors import StopRequested
flag = StopFlag()
def command():
    log.info("ready")
    while os.getppid() and not (flag or os.path.exists(sys.argv[1])):
        time.sleep(0.01)
    for number in range(3):
        log.info("line %d", number)
    raise StopRequested(flag.signal_name)
cli.run(command)
"""
"""A command that works until it gets SIGHUP or a file appears, and then writes to its log."""


def test_work_is_saved_when_its_terminal_was_closed(tmp_path: Path) -> None:
    pid, ours = pty.fork()
    if pid == 0:
        os.execv(sys.executable, [sys.executable, "-c", UNREAD, str(tmp_path / "never")])
    assert b"ready" in os.read(ours, 1000)
    os.close(ours)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 3


def test_work_is_saved_when_the_reader_of_its_log_has_ended(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", UNREAD, tmp_path / "go"], stderr=subprocess.PIPE)
    assert process.stderr is not None
    assert b"ready" in process.stderr.readline()
    process.stderr.close()
    (tmp_path / "go").touch()
    assert process.wait(LONG_S) == 3
