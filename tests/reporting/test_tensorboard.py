"""Curves of a fold, whose points occur once also after a resume."""

from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from pneumo.reporting.tensorboard import FoldEvents


def read(directory: Path) -> EventAccumulator:
    accumulator = EventAccumulator(str(directory))
    accumulator.Reload()
    return accumulator


def test_points_are_written_under_their_names(tmp_path: Path) -> None:
    with FoldEvents(tmp_path, 0, enabled=True) as curves:
        curves.add(10, {"train/total": 0.5, "epoch": 1})
    events = read(tmp_path)
    assert set(events.Tags()["scalars"]) == {"train/total", "run/epoch"}
    assert [(e.step, e.value) for e in events.Scalars("train/total")] == [(10, 0.5)]


def test_a_resume_hides_the_points_that_it_writes_again(tmp_path: Path) -> None:
    with FoldEvents(tmp_path, 0, enabled=True) as curves:
        for step in (10, 20, 30):
            curves.add(step, {"train/total": 1.0})
    with FoldEvents(tmp_path, 20, enabled=True) as curves:
        curves.add(30, {"train/total": 2.0})
    points = [(e.step, e.value) for e in read(tmp_path).Scalars("train/total")]
    assert points == [(10, 1.0), (20, 1.0), (30, 2.0)]


def test_other_ranks_write_nothing(tmp_path: Path) -> None:
    with FoldEvents(tmp_path, 0, enabled=False) as curves:
        curves.add(1, {"train/total": 1.0})
    assert list(tmp_path.iterdir()) == []


def test_points_are_in_the_file_at_once(tmp_path: Path) -> None:
    with FoldEvents(tmp_path, 0, enabled=True) as curves:
        curves.add(1, {"train/total": 1.5})
        assert [(e.step, e.value) for e in read(tmp_path).Scalars("train/total")] == [(1, 1.5)]


def test_curves_that_cannot_be_written_give_one_warning_and_no_error(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    with FoldEvents(tmp_path / "file", 0, enabled=True) as curves:
        curves.add(1, {"train/total": 1.0})
    with FoldEvents(tmp_path, 0, enabled=True) as curves:
        assert curves._records is not None
        full = Path("/dev/full").open("ab", buffering=0)  # noqa: SIM115
        curves._records._writer = full
        curves.add(1, {"train/total": 1.0})
        curves.add(2, {"train/total": 1.0})
        full.close()
    assert [record.getMessage() for record in caplog.records] == [
        f"TensorBoard curves in {tmp_path / 'file'} are disabled: File exists",
        f"TensorBoard curves in {tmp_path} are disabled: No space left on device",
    ]
