"""Events of a fold, each of which is seen once also after a resume."""

from pathlib import Path

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from pneumo.reporting.summaries import picture
from pneumo.reporting.tensorboard import FoldEvents


def read(directory: Path) -> EventAccumulator:
    accumulator = EventAccumulator(str(directory), size_guidance={"tensors": 0})
    accumulator.Reload()
    return accumulator


def test_points_are_written_under_their_names(tmp_path: Path) -> None:
    with FoldEvents(tmp_path, 0, enabled=True) as events:
        events.add_scalars(10, {"train/total": 0.5, "lr": 1})
    found = read(tmp_path)
    assert set(found.Tags()["scalars"]) == {"train/total", "lr"}
    assert [(e.step, e.value) for e in found.Scalars("train/total")] == [(10, 0.5)]


def test_a_resume_hides_the_points_that_it_writes_again(tmp_path: Path) -> None:
    with FoldEvents(tmp_path, 0, enabled=True) as events:
        for step in (10, 20, 30):
            events.add_scalars(step, {"train/total": 1.0})
    with FoldEvents(tmp_path, 21, enabled=True) as events:
        events.add_scalars(30, {"train/total": 2.0})
    points = [(e.step, e.value) for e in read(tmp_path).Scalars("train/total")]
    assert points == [(10, 1.0), (20, 1.0), (30, 2.0)]


def test_a_start_from_the_beginning_hides_all(tmp_path: Path) -> None:
    for value in (1.0, 2.0):
        with FoldEvents(tmp_path, 0, enabled=True) as events:
            events.add_scalars(0, {"lr": value})
    assert [(e.step, e.value) for e in read(tmp_path).Scalars("lr")] == [(0, 2.0)]


def test_a_resume_hides_pictures_too(tmp_path: Path) -> None:
    for first in (0, 20):
        with FoldEvents(tmp_path, first, enabled=True) as events:
            for step in (10, 20, 30)[first // 20 :]:
                events.add(step, picture("x", np.full((4, 4, 3), first, np.uint8)))
    assert [e.step for e in read(tmp_path).Images("x")] == [10, 20, 30]


def test_files_are_read_in_the_order_of_their_starts(tmp_path: Path) -> None:
    for _ in range(20):
        with FoldEvents(tmp_path, 0, enabled=True):
            pass
    started = sorted(tmp_path.iterdir(), key=lambda path: path.stat().st_ctime_ns)
    assert [path.name for path in started] == sorted(path.name for path in tmp_path.iterdir())


def test_other_ranks_write_nothing(tmp_path: Path) -> None:
    with FoldEvents(tmp_path, 0, enabled=False) as events:
        events.add_scalars(1, {"train/total": 1.0})
    assert list(tmp_path.iterdir()) == []


def test_points_are_in_the_file_at_once(tmp_path: Path) -> None:
    with FoldEvents(tmp_path, 0, enabled=True) as events:
        events.add_scalars(1, {"train/total": 1.5})
        assert [(e.step, e.value) for e in read(tmp_path).Scalars("train/total")] == [(1, 1.5)]


def test_events_that_cannot_be_written_give_one_warning_and_no_error(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    with FoldEvents(tmp_path / "file", 0, enabled=True) as events:
        events.add_scalars(1, {"train/total": 1.0})
    with FoldEvents(tmp_path, 0, enabled=True) as events:
        assert events._records is not None
        full = Path("/dev/full").open("ab", buffering=0)  # noqa: SIM115
        events._records._writer = full
        events.add_scalars(1, {"train/total": 1.0})
        events.add_scalars(2, {"train/total": 1.0})
        full.close()
    assert [record.getMessage() for record in caplog.records] == [
        f"TensorBoard events in {tmp_path / 'file'} are disabled: File exists",
        f"TensorBoard events in {tmp_path} are disabled: No space left on device",
    ]
