"""Progress: lines now and then where there is no terminal, nothing on silent ranks."""

import logging
import sys

import pytest

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
