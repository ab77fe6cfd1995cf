"""job/demo.py: what --fresh deletes, and what is resumed. The demo itself is a part of CI (.ci/run demo)."""

import json
import shutil
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType

import pytest
from command_driver import call
from waiting import wait_until

from pneumo.runtime import locks
from pneumo.runtime.errors import UserError
from pneumo.training.run_directory import LOCK_FILE

RECORD = {"images": 24, "test-images": 4, "seed": 0}
"""What a demo writes into demo.json."""


@pytest.fixture
def demo(load_command: Callable[[str], ModuleType]) -> ModuleType:
    return load_command("demo")


@pytest.fixture
def place(demo: ModuleType, alone: Path, dataset: Path, tmp_path: Path) -> tuple[Path, Path]:
    """A run of the demo and its data: a finished run whose recipe has another name."""
    run, data = tmp_path / "runs" / "x", tmp_path / "data" / "x"
    shutil.copytree(alone, run)
    rename_recipe(run, "demo")
    shutil.copytree(dataset, data / "dataset")
    (data / "dicom").mkdir()
    (data / "demo.json").write_text(json.dumps(RECORD))
    return run, data


def rename_recipe(run: Path, name: str) -> None:
    record = json.loads((run / "recipe.json").read_text())
    record["recipe"]["name"] = name
    (run / "recipe.json").write_text(json.dumps(record))


def linked(directory: Path) -> None:
    """Move a directory elsewhere, and leave a link to it."""
    elsewhere = directory.with_name("elsewhere")
    directory.rename(elsewhere)
    directory.symlink_to(elsewhere)


def everything(directory: Path) -> set[Path]:
    return set(directory.rglob("*"))


def test_a_demos_own_directories_are_deleted(demo: ModuleType, place: tuple[Path, Path]) -> None:
    run, data = place
    (run / ".metrics.json.pneumo-tmp-abcd1234").touch()
    (data / "dicom" / "masks.csv").touch()
    (data / ".dicom.pneumo-tmp-abcd1234").mkdir()
    demo.remove_earlier_demo(run, data)
    assert not run.exists()
    assert not data.exists()
    demo.remove_earlier_demo(run, data)
    run.mkdir()
    (run / LOCK_FILE).touch()
    demo.remove_earlier_demo(run, data)
    assert not run.exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda run, data: rename_recipe(run, "best"), "holds a run of the recipe best"),
        (lambda run, data: (run / "notes.txt").touch(), r"holds other files too: 1 \(.*/notes.txt\)"),
        (lambda run, data: (run / "fold-0" / "mine.ckpt").touch(), r"holds other files too: 1 \(.*/fold-0/mine.ckpt\)"),
        (lambda run, data: (run / "recipe.json").unlink(), "holds no run of the demo"),
        (lambda run, data: shutil.rmtree(data), "holds no run of the demo"),
        (lambda run, data: linked(run), "x is a link"),
        (lambda run, data: linked(data), "x is a link"),
        (lambda run, data: (data / "demo.json").unlink(), r"holds no data of the demo \(no demo.json\)"),
        (lambda run, data: (data / "demo.json").write_text("{}"), r"\(demo.json was not written by it\)"),
        (lambda run, data: (data / "demo.json").write_text("[1"), r"\(demo.json was not written by it\)"),
        (
            lambda run, data: (data / "demo.json").write_text(json.dumps(RECORD | {"mine": 1})),
            r"\(demo.json was not written by it\)",
        ),
        (lambda run, data: (data / "dicom" / "mine.dcm").touch(), r"holds other files too: 1 \(dicom/mine.dcm\)"),
        (lambda run, data: (data / "train-rle.csv").touch(), r"holds other files too: 1 \(train-rle.csv\)"),
    ],
)
def test_nothing_else_is_ever_deleted(
    demo: ModuleType, place: tuple[Path, Path], change: Callable[[Path, Path], None], message: str
) -> None:
    run, data = place
    change(run, data)
    before = everything(run), everything(data)
    with pytest.raises(UserError, match=message):
        demo.remove_earlier_demo(run, data)
    assert (everything(run), everything(data)) == before


def test_a_demo_that_is_at_work_is_not_deleted(demo: ModuleType, place: tuple[Path, Path]) -> None:
    run, data = place
    for lock in (run / LOCK_FILE, run / "fold-1" / LOCK_FILE):
        # In another process, as this one's locks are no obstacle for it.
        with subprocess.Popen(["flock", "--exclusive", lock, "cat"], stdin=subprocess.PIPE):
            wait_until(partial(locks.is_held, lock))
            with pytest.raises(UserError, match="holds a run that another process is at work on"):
                demo.remove_earlier_demo(run, data)
    assert (run / "recipe.json").is_file()


def test_a_real_run_is_not_taken_for_a_demo(alone: Path, tmp_path: Path) -> None:
    """Through the command: exit code 2 before anything is written."""
    run = tmp_path / "runs" / "best"
    shutil.copytree(alone, run)
    (tmp_path / "data" / "best" / "dicom").mkdir(parents=True)
    before = everything(tmp_path)
    code, _, errors = call("demo", ["--out", str(run), "--fresh"])
    assert code == 2
    assert "runs/best holds no run of the demo" in errors
    code, _, errors = call("demo", ["--out", str(run)])
    assert code == 2
    assert "data/best holds no data of the demo (no demo.json); expected a directory for the demo's data" in errors
    assert everything(tmp_path) == before


@pytest.mark.parametrize(
    ("flags", "found", "asked"),
    [
        ([], "--images 24, --test-images 4", "--images 240, --test-images 24"),
        (["--images", "24", "--test-images", "4", "--seed", "9"], "--seed 0", "--seed 9"),
    ],
)
def test_a_demo_of_other_images_is_not_resumed(tmp_path: Path, flags: list[str], found: str, asked: str) -> None:
    """Its few images would be trained on, and the result be called a bug."""
    data = tmp_path / "data" / "x"
    (data / "dicom").mkdir(parents=True)
    (data / "demo.json").write_text(json.dumps(RECORD))
    before = (data / "demo.json").read_bytes()
    code, _, errors = call("demo", ["--out", str(tmp_path / "runs" / "x"), *flags])
    assert code == 2
    assert f"the demo in {data} has {found}; expected {asked}; give --fresh to delete it" in errors
    assert (data / "demo.json").read_bytes() == before


def test_a_demo_is_resumed_with_its_own_flags_and_started_again_before_it_has_images(
    demo: ModuleType, tmp_path: Path
) -> None:
    asked = RECORD
    (tmp_path / "demo.json").write_text(json.dumps({"images": 240, "test-images": 4, "seed": 0}))
    demo.check_same_images(tmp_path, asked)
    (tmp_path / "dicom").mkdir()
    (tmp_path / "demo.json").write_text(json.dumps(asked))
    demo.check_same_images(tmp_path, asked)


@pytest.mark.parametrize("content", ["", '{"images": 24}', "[]"])
def test_a_record_of_another_program_is_not_resumed(tmp_path: Path, content: str) -> None:
    data = tmp_path / "data" / "x"
    data.mkdir(parents=True)
    (data / "demo.json").write_text(content)
    code, _, errors = call("demo", ["--out", str(tmp_path / "runs" / "x")])
    assert code == 2
    assert "demo.json was not written by it" in errors
    assert (data / "demo.json").read_text() == content


def test_a_demo_of_an_earlier_version_is_one(demo: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "demo.json").write_text('{"images": 240, "seed": 0}')
    (tmp_path / "dicom").mkdir()
    assert demo.why_no_demo_data(tmp_path) == ""
    demo.check_same_images(tmp_path, {"images": 240, "test-images": 24, "seed": 0})
    with pytest.raises(UserError, match="has --seed 0; expected --seed 1"):
        demo.check_same_images(tmp_path, {"images": 240, "test-images": 24, "seed": 1})


def test_a_demo_that_was_killed_at_its_first_file_is_no_obstacle(demo: ModuleType, tmp_path: Path) -> None:
    (tmp_path / ".demo.json.pneumo-tmp-12345678").touch()
    assert demo.why_no_demo_data(tmp_path) == ""


@pytest.mark.parametrize(
    ("out", "data"), [("runs/x", "data/x"), ("x", "x-data"), ("a/b/x", "a/b/x-data"), ("runs/a/x", "runs/a/x-data")]
)
def test_the_data_go_beside_the_run_or_beside_runs(
    demo: ModuleType, out: str, data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert demo.data_directory(Path(out)) == demo.data_directory(tmp_path / out) == tmp_path / data


def test_the_first_line_says_where_the_data_go(tmp_path: Path) -> None:
    data = tmp_path / "x-data"
    (data / "dicom").mkdir(parents=True)
    (data / "demo.json").write_text(json.dumps(RECORD))
    # The images are gone, which is where this demo ends.
    code, _, errors = call("demo", ["--out", str(tmp_path / "x"), "--images", "24", "--test-images", "4"])
    assert code != 0
    assert f"run: {tmp_path / 'x'}, synthetic DICOMs and dataset: {data}" in errors.splitlines()[0]
