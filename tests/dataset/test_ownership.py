import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pneumo.dataset import ownership
from pneumo.runtime.errors import UserError

HEADERS = {
    "quarantine.csv": "split,file,image_id,reason,phase,found,expected,action\n",
    "left_out.csv": "split,file,image_id,reason\n",
    "unmatched.csv": "image_id,file,reason\n",
}


def write(directory: Path, *names: str) -> None:
    for name in names:
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(HEADERS.get(name, "mine"))


@pytest.mark.parametrize(
    "names",
    [
        [],
        ["notes.txt", ".hidden/x"],
        ["dataset.json", "samples.parquet", "shards/x"],
        [".build/plan.json", ".build/train-000000.json", "shards/x"],
        [".build/.plan.json.pneumo-tmp-abcd1234"],
        [f".build/headers/{'0af' * 21}0", f".build/headers/.{'0af' * 21}0.pneumo-tmp-abcd1234"],
        list(HEADERS),
    ],
)
def test_a_build_takes_a_directory_of_its_own(names: list[str], tmp_path: Path) -> None:
    ownership.check_dataset(tmp_path / "missing")
    write(tmp_path, *names)
    ownership.check_dataset(tmp_path)


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["samples.parquet"], "samples.parquet"),
        (["shards/train-000000.tar", *HEADERS], "shards"),
        ([".build/x"], ".build"),
        ([".build/headers/x"], ".build"),
        ([".build/headers"], ".build"),
        (["quarantine.csv", "left_out.csv", "predictions.csv"], "left_out.csv, quarantine.csv"),
    ],
)
def test_a_build_takes_no_other_directory(names: list[str], found: str, tmp_path: Path) -> None:
    write(tmp_path, *names)
    with pytest.raises(UserError, match=rf"{tmp_path} has {found} of another origin"):
        ownership.check_dataset(tmp_path)


def test_a_list_with_another_header_is_the_users(tmp_path: Path) -> None:
    write(tmp_path, *HEADERS)
    (tmp_path / "left_out.csv").write_text("file,reason\n")
    with pytest.raises(UserError, match=r"has left_out\.csv, quarantine\.csv, unmatched\.csv of another origin"):
        ownership.check_dataset(tmp_path)


def test_a_task_that_begins_at_this_moment_is_no_stranger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    is_dataset: Callable[[Path], bool] = ownership._is_dataset

    def begin_after_the_first_look(directory: Path) -> bool:
        found = is_dataset(directory)
        write(tmp_path, ".build/plan.json", "shards/train-000000.tar")
        return found

    monkeypatch.setattr(ownership, "_is_dataset", begin_after_the_first_look)
    ownership.check_dataset(tmp_path)


@pytest.mark.parametrize("name", ["headers", ".build"])
def test_what_another_task_removes_meanwhile_is_no_obstacle(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, f".build/headers/{'0af' * 21}0")
    iterdir = Path.iterdir

    def remove_and_list(path: Path) -> Iterator[Path]:
        if path.name == name:
            shutil.rmtree(path)
        return iterdir(path)

    monkeypatch.setattr(Path, "iterdir", remove_and_list)
    ownership.check_dataset(tmp_path)
