"""A damaged dataset and the commands: verified beforehand, refused at the first read, or trained without the damage."""

import csv
import json
import re
import shutil
import signal
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from job_commands import FIRST, JOB, RECIPE, accelerate, interrupted, run, run_all, train, weights

from pneumo.dataset.table import SampleTable
from pneumo.inference.histograms import PredictionHistograms
from pneumo.masks import rle


@dataclass(frozen=True)
class Bad:
    """A dataset with two damaged training images and one damaged test image."""

    path: Path
    ids: list[str]
    """The training images: a bit of the picture, and one that moves the mask and leaves its area."""
    test_id: str


def flip(dataset: Path, shard: str, place: int) -> None:
    path = dataset / "shards" / shard
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def flip_image(dataset: Path, table: SampleTable, row: int) -> str:
    flip(dataset, str(table.shard[row]), int(table.offset[row] + table.bytes[row] // 2))
    return (
        f"image {table.image_id[row]} in shards/{table.shard[row]} of {dataset}: the {table.image_format[row]} member"
    )


def flip_mask(dataset: Path, table: SampleTable, row: int) -> str:
    flip(dataset, str(table.shard[row]), int(table.rle_offset[row]))
    return f"image {table.image_id[row]} in shards/{table.shard[row]} of {dataset}: the rle member"


def positive_row(table: SampleTable) -> int:
    return int(np.flatnonzero(table.positive)[2])


@pytest.fixture(scope="module")
def bad(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Bad:
    copy = shutil.copytree(dataset, tmp_path_factory.mktemp("bad") / "dataset")
    table = SampleTable.read(copy)
    image, mask, test = (
        int(np.flatnonzero((table.split == "train") & ~table.positive)[1]),
        positive_row(table),
        int(table.select("test")[1]),
    )
    flip_image(copy, table, image)
    flip_mask(copy, table, mask)
    flip_image(copy, table, test)
    return Bad(copy, [str(table.image_id[row]) for row in sorted((image, mask))], str(table.image_id[test]))


@pytest.fixture(scope="module")
def without(bad: Bad, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A run that left the damage out, never interrupted, and its output."""
    directory = tmp_path_factory.mktemp("runs") / "without"
    return directory, train(bad.path, directory, "--skip-damaged")


def submitted(directory: Path) -> dict[str, str]:
    with (directory / "submission.csv").open() as file:
        return {row["ImageId"]: row["EncodedPixels"] for row in csv.DictReader(file)}


def test_verify_ends_with_0_or_2(dataset: Path, bad: Bad) -> None:
    code, output = run([JOB / "verify.py", "--dataset", dataset])
    assert code == 0, output
    assert "38 images in 2 shards, nothing is damaged" in output
    code, output = run([JOB / "verify.py", f"--dataset={bad.path}", "--workers", 1])
    assert code == 2, output
    for image_id in (*bad.ids, bad.test_id):
        assert f": image {image_id}: its " in output
    assert "3 issues in 2 files, of 2 training images and 1 test image" in output


@dataclass(frozen=True)
class Refused:
    """Commands on datasets that cannot be used."""

    directory: Path
    """Has a run for each."""
    answers: dict[str, tuple[object, str]]
    """Exit code and output of each."""
    mask: str
    """What names the damaged mask."""


@pytest.fixture(scope="module")
def refused(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Refused:
    directory = tmp_path_factory.mktemp("refused")
    mask, edited, empty = (Path(shutil.copytree(dataset, directory / name)) for name in ("mask", "edited", "empty"))
    table = SampleTable.read(dataset)
    text = flip_mask(mask, table, positive_row(table))
    replace(table, positive=~table.positive).write(edited)
    (empty / "shards" / "train-000000.tar").unlink()

    def training(copy: Path, *more: object) -> tuple[str, list[object]]:
        return "train", ["--dataset", copy, "--run", directory / f"run of {copy.name}", *RECIPE, *more]

    commands = {
        "verify no dataset": ("verify", ["--dataset", directory]),
        "verify an edited table": ("verify", ["--dataset", edited]),
        "train on an edited table": training(edited),
        "train on a damaged mask": training(mask),
        "train on nothing": training(empty, "--skip-damaged"),
    }
    return Refused(directory, dict(zip(commands, run_all(list(commands.values())), strict=True)), text)


@pytest.mark.parametrize(
    ("command", "text"),
    [
        ("verify no dataset", "no dataset.json"),
        ("verify an edited table", "samples.parquet: not what was written"),
        ("train on an edited table", "samples.parquet: not what was written"),
    ],
)
def test_without_an_undamaged_table_nothing_is_verified_or_trained(refused: Refused, command: str, text: str) -> None:
    code, output = refused.answers[command]
    assert code == 2, output
    assert text in output
    assert "Traceback" not in output
    assert not (refused.directory / "run of edited").exists()


def test_a_damaged_image_is_named_at_the_first_read(dataset: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(dataset, tmp_path / "copy")
    table = SampleTable.read(copy)
    text = flip_image(copy, table, positive_row(table))
    code, output = run([JOB / "train.py", "--dataset", copy, "--run", tmp_path / "run", *RECIPE])
    assert code == 2, output
    assert text in output
    assert "Traceback" not in output
    assert not (tmp_path / "run" / "fold-0" / "fold.json").exists()


def test_a_damaged_mask_is_named_at_the_first_read(refused: Refused) -> None:
    code, output = refused.answers["train on a damaged mask"]
    assert code == 2, output
    assert refused.mask in output
    assert "Traceback" not in output
    assert (refused.directory / "run of mask" / "fold-0").is_dir()
    assert not (refused.directory / "run of mask" / "fold-0" / "fold.json").exists()


def test_a_gradient_that_is_not_finite_ends_the_run_without_a_checkpoint(dataset: Path, tmp_path: Path) -> None:
    """At this weight the losses are within float32, and the square of the gradient is not."""
    directory = tmp_path / "run"
    code, output = run([JOB / "train.py", "--dataset", dataset, "--run", directory, *RECIPE, "--loss.bce", 1e37])
    assert code == 2, output
    message = r"the gradient of fold 0 is not finite at step \d+; expected a finite gradient; lower --learning-rate"
    assert re.search(message, output)
    assert "no checkpoint has this gradient" in output
    assert "Traceback" not in output
    assert not list(directory.glob("fold-0/checkpoints/step-*"))


def test_a_run_without_the_damage_says_so(bad: Bad, without: tuple[Path, str]) -> None:
    directory, output = without
    assert "excluded: 2 damaged training images (1 positive)" in output
    assert "1 test image is damaged" in output
    # At the end, too, after the metrics.
    assert "excluded, neither trained on nor scored: 2 damaged training images;" in output.partition("nested Dice")[2]
    recorded = json.loads((directory / "recipe.json").read_text())["dataset"]["excluded"]
    assert list(recorded) == bad.ids
    assert all("member is damaged" in reason for reason in recorded.values())
    metrics = json.loads((directory / "metrics.json").read_text())
    assert (metrics["images"], metrics["excluded"]) == (30, 2)
    assert sum(fold["images"] for fold in metrics["folds"]) == 30
    assert any(
        "excluded, neither trained on nor scored: 2 damaged training images" in caveat for caveat in metrics["caveats"]
    )


def test_what_was_left_out_is_in_no_metric(bad: Bad, without: tuple[Path, str], dataset: Path) -> None:
    directory, _ = without
    labeled = SampleTable.read(dataset)
    kept = set(labeled.image_id[labeled.select("train")].tolist()) - set(bad.ids)
    assert set(PredictionHistograms.read(directory / "oof.parquet").image_id.tolist()) == kept
    with (directory / "oof.csv").open() as file:
        assert {row["ImageId"] for row in csv.DictReader(file)} == kept


def test_a_damaged_test_image_has_an_empty_row_and_is_named(bad: Bad, without: tuple[Path, str], dataset: Path) -> None:
    directory, output = without
    assert f"damaged test image, NOT predicted, gets an empty mask: image {bad.test_id} in shards/test-" in output
    table = SampleTable.read(dataset)
    assert list(submitted(directory)) == table.image_id[table.select("test")].tolist()
    assert submitted(directory)[bad.test_id] == rle.EMPTY


@pytest.mark.slow
def test_ensembling_needs_the_flag_too(bad: Bad, without: tuple[Path, str], tmp_path: Path) -> None:
    directory, _ = without
    words = [JOB / "ensemble.py", "--runs", directory, "--dataset", bad.path, "--out", tmp_path / "s.csv"]
    code, output = run(words)
    assert code == 2, output
    assert f"image {bad.test_id} in shards/test-" in output
    assert not (tmp_path / "s.csv").exists()
    code, output = run([*words, "--skip-damaged"])
    assert code == 0, output
    assert (tmp_path / "s.csv").read_bytes() == (directory / "submission.csv").read_bytes()


@pytest.mark.slow
def test_two_processes_leave_out_the_same_to_the_same_bytes(
    bad: Bad, without: tuple[Path, str], tmp_path: Path
) -> None:
    directory, _ = without
    train(bad.path, tmp_path / "run", "--skip-damaged", "--expect-world", 2, launcher=accelerate())
    for name in ("recipe.json", "oof.parquet", "oof.csv", "thresholds.json", "submission.csv"):
        assert (tmp_path / "run" / name).read_bytes() == (directory / name).read_bytes(), name
    for fold in (0, 1):
        assert weights(tmp_path / "run", fold) == weights(directory, fold)


@pytest.mark.slow
def test_what_a_run_leaves_out_is_decided_when_it_is_started(
    bad: Bad, without: tuple[Path, str], dataset: Path, tmp_path: Path
) -> None:
    """Interrupted, then more damage, then all repaired: the excluded images stay the same, and so do the bytes."""
    directory, copy, ours = tmp_path / "run", shutil.copytree(bad.path, tmp_path / "dataset"), without[0]
    words = [JOB / "train.py", "--dataset", copy, "--run", directory, *RECIPE, "--skip-damaged"]
    code, output = run(words, launcher=interrupted(tmp_path / "at", FIRST.format(0), signal.SIGTERM))
    assert code == 3, output
    excluded = json.loads((directory / "recipe.json").read_text())["dataset"]["excluded"]

    table = SampleTable.read(copy)
    later = flip_image(copy, table, int(np.flatnonzero(table.positive)[5]))
    code, output = run(words)
    assert code == 2, output
    assert f"{later} is damaged" in output
    assert "it excludes the same images as then, and no others" in output

    shutil.rmtree(copy)
    shutil.copytree(dataset, copy)
    # Without the flag: it only decides on what a run is started with.
    code, output = run(words[:-1])
    assert code == 0, output
    assert "excluded: 2 damaged training images (1 positive)" in output
    assert json.loads((directory / "recipe.json").read_text())["dataset"]["excluded"] == excluded
    for fold in (0, 1):
        assert weights(directory, fold) == weights(ours, fold)
    for name in ("oof.parquet", "oof.csv", "thresholds.json"):
        assert (directory / name).read_bytes() == (ours / name).read_bytes(), name
    # The test image is repaired, and nothing was trained on it.
    assert submitted(directory).keys() == submitted(ours).keys()


def test_nothing_left_to_train_on_is_refused(refused: Refused) -> None:
    code, output = refused.answers["train on nothing"]
    assert code == 2, output
    assert "folds of the dataset without images: 2 (0, 1)" in output
    assert "32 damaged images excluded" in output
    assert not (refused.directory / "run of empty").exists()
