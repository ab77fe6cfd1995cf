"""Curves that a resume does not double."""

from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from pneumo.reporting.tensorboard import FoldCurves


def read(folder: Path) -> EventAccumulator:
    accumulator = EventAccumulator(str(folder))
    accumulator.Reload()
    return accumulator


def test_points_are_written_under_their_names(tmp_path: Path) -> None:
    with FoldCurves(tmp_path, 0, enabled=True) as curves:
        curves.add(10, {"train/total": 0.5, "epoch": 1})
    events = read(tmp_path)
    assert set(events.Tags()["scalars"]) == {"train/total", "run/epoch"}
    assert [(e.step, e.value) for e in events.Scalars("train/total")] == [(10, 0.5)]


def test_a_resume_hides_what_it_does_again(tmp_path: Path) -> None:
    with FoldCurves(tmp_path, 0, enabled=True) as curves:
        for step in (10, 20, 30):
            curves.add(step, {"train/total": 1.0})
    with FoldCurves(tmp_path, 20, enabled=True) as curves:
        curves.add(30, {"train/total": 2.0})
    points = [(e.step, e.value) for e in read(tmp_path).Scalars("train/total")]
    assert points == [(10, 1.0), (20, 1.0), (30, 2.0)]


def test_other_ranks_write_nothing(tmp_path: Path) -> None:
    with FoldCurves(tmp_path, 0, enabled=False) as curves:
        curves.add(1, {"train/total": 1.0})
    assert list(tmp_path.iterdir()) == []
