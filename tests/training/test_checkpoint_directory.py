"""Which checkpoints are on disk, and which of them stay."""

from pathlib import Path

from pneumo.training.checkpoint_directory import KEEP, prune, published

NAMES = ("step-00000009-epoch-0000", "step-00000010-epoch-0000", "step-00000100-epoch-0000", "step-00000100-epoch-0001")


def test_they_are_listed_from_the_oldest_and_nothing_else_is(tmp_path: Path) -> None:
    for name in (*reversed(NAMES), "step-9-epoch-0", ".step-00000200-epoch-0002.tmp-1"):
        (tmp_path / name).mkdir()
    (tmp_path / "step-00000300-epoch-0003").write_text("no directory")
    assert [path.name for path in published(tmp_path)] == list(NAMES)
    assert published(tmp_path / "nothing") == []


def test_the_newest_stay(tmp_path: Path) -> None:
    for name in NAMES:
        (tmp_path / name).mkdir()
        (tmp_path / name / "state.json").write_text("{}")
    prune(tmp_path)
    assert [path.name for path in sorted(tmp_path.iterdir())] == list(NAMES[-KEEP:])
    assert all((tmp_path / name / "state.json").is_file() for name in NAMES[-KEEP:])
