"""job/compare.py as a user runs it: variants are trained, killed, stopped, resumed and compared."""

import json
import re
import shutil
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from job_commands import FIRST, JOB, RECIPE, accelerate, interrupted, run, weights

from pneumo.inference.histograms import PredictionHistograms
from pneumo.runtime import locks
from pneumo.runtime.files import sha256

RECIPE_WORDS = " ".join(word for word in RECIPE if word not in ("--checkpoint-minutes", "0.001"))
VARIANTS = f"# of tests\nbase: {RECIPE_WORDS}\ndice-all: {RECIPE_WORDS} --epochs 1 --loss.dice-on all\n"
Call = Callable[..., tuple[object, str]]


def write_variants(directory: Path, text: str = VARIANTS) -> Path:
    path = directory / "variants.txt"
    path.write_text(text)
    return path


def words(dataset: Path, directory: Path, *more: object) -> list[object]:
    """Return the command line of a comparison in a directory, which has its file of variants."""
    flags = ["--dataset", dataset, "--variants", directory / "variants.txt", "--out", directory / "out"]
    return [*flags, "--checkpoint-minutes", 0.001, *more]


def read(directory: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((directory / "out" / "comparison.json").read_text())
    return found


@pytest.fixture(scope="module")
def compared(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A comparison that was killed in its first variant, stopped in its second, and then finished."""
    directory = tmp_path_factory.mktemp("compared")
    write_variants(directory)
    command = [JOB / "compare.py", *words(dataset, directory)]
    at = interrupted(directory / "kill", f"base-seed-0/{FIRST.format(1)}", signal.SIGKILL)
    assert run(command, launcher=at)[0] == -signal.SIGKILL
    assert not (directory / "out" / "comparison.json").exists()
    code, output = run(
        command, launcher=interrupted(directory / "stop", f"dice-all-seed-0/{FIRST.format(0)}", signal.SIGTERM)
    )
    assert code == 3, output
    assert "run 1 of 2: variant base (1 of 2), seed 0" in output
    assert "fold 1 resumes from step-" in output
    assert "run 2 of 2: variant dice-all (2 of 2), seed 0; about " in output
    assert read(directory)["unfinished"] == ["dice-all"]
    assert "still to be trained: dice-all" in (directory / "out" / "comparison.md").read_text()
    finished = directory / "out" / "runs" / "base-seed-0" / "fold-1" / "fold.json"
    before = finished.stat().st_mtime_ns
    code, output = run(command)
    assert code == 0, output
    assert "run 1 of 2" not in output
    assert "fold 0 resumes from step-" in output
    assert finished.stat().st_mtime_ns == before
    return directory


def test_an_interrupted_comparison_has_the_runs_and_scores_of_undisturbed_training(alone: Path, compared: Path) -> None:
    for fold in (0, 1):
        assert weights(compared / "out" / "runs" / "base-seed-0", fold) == weights(alone, fold)
    metrics = json.loads((alone / "metrics.json").read_text())
    found = read(compared)
    base, other = found["variants"]
    assert (base["name"], base["flags"], other["name"]) == ("base", RECIPE_WORDS, "dice-all")
    for name in ("dice", "dice_positive", "sensitivity", "specificity"):
        assert base["scores"][name]["value"] == pytest.approx(metrics["nested"][name], abs=1e-12), name
    assert base["scores"]["dice_over_empty"]["interval"] == pytest.approx(metrics["dice_over_empty_interval"])
    assert base["runs"][0]["auc"] == metrics["auc"]
    assert base["runs"][0]["seconds"] > 0
    assert (found["images"], found["patients"], found["folds"]) == (32, metrics["patients"], [0, 1])
    assert found["unfinished"] == []
    difference = other["scores"]["dice"]["difference"]
    assert difference["value"] == pytest.approx(other["scores"]["dice"]["value"] - base["scores"]["dice"]["value"])
    assert difference["interval"][0] <= difference["value"] <= difference["interval"][1]
    text = (compared / "out" / "comparison.md").read_text()
    assert f"| dice-all | {other['scores']['dice']['value']:.4f} (" in text
    assert f"- dice-all: `{other['flags']}`" in text
    assert not list((compared / "out").rglob(".*lock"))


@pytest.mark.slow
def test_two_ranks_train_another_variant_and_keep_what_is_there(compared: Path, dataset: Path, tmp_path: Path) -> None:
    shutil.copytree(compared, tmp_path, dirs_exist_ok=True)
    shutil.rmtree(tmp_path / "out" / "runs" / "dice-all-seed-0")
    code, output = run([JOB / "compare.py", *words(dataset, tmp_path, "--expect-world", 2)], launcher=accelerate())
    assert code == 0, output
    assert "rank 0: fold 0; rank 1: fold 1" in output
    for fold in (0, 1):
        own, single = (directory / "out" / "runs" / "dice-all-seed-0" for directory in (tmp_path, compared))
        assert weights(own, fold) == weights(single, fold)
    one, two = read(compared), read(tmp_path)
    assert [variant["scores"] for variant in two["variants"]] == [variant["scores"] for variant in one["variants"]]


@pytest.mark.slow
def test_some_folds_are_compared_and_seeds_are_added(
    compared: Path, dataset: Path, tmp_path: Path, call_on_one_core: Call
) -> None:
    shutil.copytree(compared, tmp_path, dirs_exist_ok=True)
    code, output = call_on_one_core("compare", *words(dataset, tmp_path, "--folds", 1, "--seeds", 0, 1))
    assert code == 0, output
    assert output.count("INFO run ") == 2
    assert "run 2 of 4: variant base (1 of 2), seed 1" in output
    found = read(tmp_path)
    assert (found["folds"], found["seeds"], found["images"]) == ([1], [0, 1], 16)
    for variant in found["variants"]:
        dice = [scored["dice"] for scored in variant["runs"]]
        assert variant["scores"]["dice"]["value"] == pytest.approx(sum(dice) / 2)
    assert not (tmp_path / "out" / "runs" / "base-seed-1" / "fold-0").exists()
    assert "Nested Dice by seed" in (tmp_path / "out" / "comparison.md").read_text()


def test_another_recipe_dataset_or_folds_under_the_same_name_is_refused(
    compared: Path, dataset: Path, tmp_path: Path, call_on_one_core: Call
) -> None:
    shutil.copytree(compared, tmp_path, dirs_exist_ok=True)
    before = (tmp_path / "out" / "comparison.json").read_bytes()
    recipe = tmp_path / "out" / "runs" / "dice-all-seed-0" / "recipe.json"
    record = json.loads(recipe.read_text())

    def refused(*more: object) -> str:
        code, output = call_on_one_core("compare", *words(dataset, tmp_path, *more))
        assert code == 2, output
        assert (tmp_path / "out" / "comparison.json").read_bytes() == before
        return output

    write_variants(tmp_path, VARIANTS.replace("--loss.dice-on all", "--loss.dice-on all --loss.bce 2"))
    output = refused()
    assert "line 3, variant dice-all: " in output
    assert "was started with another recipe (loss.bce: 1.0 -> 2.0)" in output
    assert "or give the variant another name to start a new one" in output
    write_variants(tmp_path)
    for name, message in (("digest", "other images, masks or patients"), ("folds_digest", "other folds")):
        changed = record | {"dataset": record["dataset"] | {name: "0" * 64}}
        recipe.write_text(json.dumps(changed))
        output = refused()
        assert f"variant dice-all: {recipe.parent} was started on another dataset or other folds ({message})" in output
    recipe.write_text(json.dumps(record))
    assert "--folds 0 7; expected different numbers from 0 to 1" in refused("--folds", 0, 7)
    output = refused("--images-at-once", 3)
    assert "2 mistakes: " in output
    for name in ("base", "dice-all"):
        assert f"variant {name}: --images-at-once 3 (expected a multiple of --micro-batch-size 2)" in output
    (tmp_path / "out" / "comparison.md").write_text("mine")
    assert "was changed since this command wrote it" in refused()


@pytest.mark.slow
def test_a_variant_that_fails_does_not_cost_those_behind_it(
    compared: Path, dataset: Path, tmp_path: Path, call_on_one_core: Call
) -> None:
    shutil.copytree(compared, tmp_path, dirs_exist_ok=True)
    failing = f"failing: {RECIPE_WORDS} --micro-batch-size 1"
    base, other = VARIANTS.splitlines()[1:]
    write_variants(tmp_path, "\n".join([base, failing, other]))
    shutil.rmtree(tmp_path / "out" / "runs" / "dice-all-seed-0")
    code, output = call_on_one_core("compare", *words(dataset, tmp_path))
    assert code == 2, output
    assert re.search("ERROR failing failed .*set --micro-batch-size 2 or more.*; expected variants that can be", output)
    found = read(tmp_path)
    assert ([v["name"] for v in found["variants"]], found["unfinished"]) == (["base", "dice-all"], ["failing"])
    # The first one, which the others are compared with, ends the comparison; the table stays as it was.
    write_variants(tmp_path, "\n".join([failing, base, other]))
    code, output = call_on_one_core("compare", *words(dataset, tmp_path))
    assert (code, "set --micro-batch-size 2 or more" in output, "failing failed" in output) == (2, True, False), output
    # It is corrected in place.
    write_variants(tmp_path, "\n".join([base, failing.replace("size 1", "size 4"), other]))
    code, output = call_on_one_core("compare", *words(dataset, tmp_path, "--folds", 0))
    assert code == 0, output
    assert read(tmp_path)["unfinished"] == []


def test_a_second_process_is_refused(
    compared: Path, dataset: Path, tmp_path: Path, call_on_one_core: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(compared, tmp_path, dirs_exist_ok=True)
    monkeypatch.setattr(locks, "hold", partial(locks.hold, wait_s=0.0))
    with locks.hold(tmp_path / "out" / ".lock", "it"):
        code, output = call_on_one_core("compare", *words(dataset, tmp_path))
    assert (code, f"another process works on --out {tmp_path / 'out'}" in output) == (2, True), output


def test_runs_on_other_images_are_refused(
    compared: Path, dataset: Path, tmp_path: Path, call_on_one_core: Call
) -> None:
    shutil.copytree(compared, tmp_path, dirs_exist_ok=True)
    fold = tmp_path / "out" / "runs" / "dice-all-seed-0" / "fold-1"
    histograms = PredictionHistograms.read(fold / "oof.parquet")
    histograms.select(np.arange(1, len(histograms))).write(fold / "oof.parquet")
    summary = json.loads((fold / "fold.json").read_text())
    (fold / "fold.json").write_text(json.dumps(summary | {"histograms_sha256": sha256(fold / "oof.parquet")}))
    code, output = call_on_one_core("compare", *words(dataset, tmp_path))
    assert code == 2, output
    assert f"{fold.parent} has other images than {fold.parents[1] / 'base-seed-0'}: 31 images and 32" in output


@pytest.mark.slow
def test_a_variant_of_the_same_training_has_its_networks_and_predicts_as_if_it_was_trained(
    alone: Path, compared: Path, dataset: Path, tmp_path: Path, call_on_one_core: Call
) -> None:
    shutil.copytree(compared, tmp_path, dirs_exist_ok=True)
    plain = f"no-tta: {RECIPE_WORDS} --tta\nsmall: {RECIPE_WORDS} --tta --min-component 20000\n"
    write_variants(tmp_path, f"{plain}{VARIANTS}")
    runs = tmp_path / "out" / "runs"
    shutil.rmtree(runs / "base-seed-0")
    code, output = call_on_one_core("compare", *words(dataset, tmp_path))
    assert code == 0, output
    # no-tta is trained, whose networks predict for the others; dice-all was there.
    assert output.count("epoch 2: train loss") == 2
    assert output.count("has the network of") == 4
    for fold in ("fold-0", "fold-1"):
        for name in ("model.safetensors", "oof.parquet"):
            assert (runs / "base-seed-0" / fold / name).read_bytes() == (alone / fold / name).read_bytes()
    assert not list(runs.rglob(".*"))
    before, after = read(compared)["variants"], read(tmp_path)["variants"]
    assert [variant["name"] for variant in after] == ["no-tta", "small", "base", "dice-all"]
    assert after[2]["scores"]["dice"]["value"] == before[0]["scores"]["dice"]["value"]
    removed = [
        PredictionHistograms.read(runs / f"{name}-seed-0" / "fold-0" / "oof.parquet") for name in ("no-tta", "small")
    ]
    assert [one.min_component for one in removed] == [0, 20_000]
    assert np.array_equal(removed[0].predicted, removed[1].predicted)
    assert (removed[1].masked < removed[0].masked).any()
    assert after[0]["runs"][0]["seconds"] == after[2]["runs"][0]["seconds"]
    assert [variant["networks_of"] for variant in after] == ["", "no-tta", "no-tta", ""]
    # It is a run like any other.
    own = runs / "base-seed-0"
    code, output = call_on_one_core("ensemble", "--runs", own, "--dataset", dataset, "--out", own / "submission.csv")
    assert code == 0, output
    for name in ("submission.csv", "oof.csv", "oof.parquet"):
        assert (own / name).read_bytes() == (alone / name).read_bytes(), name


@pytest.mark.slow
def test_runs_that_are_there_are_compared(alone: Path, compared: Path, tmp_path: Path, call_on_one_core: Call) -> None:
    runs = compared / "out" / "runs"
    flags = ["--runs", alone, runs / "dice-all-seed-0", "--out", tmp_path / "out"]
    for _ in range(2):
        code, output = call_on_one_core("compare", *flags)
        assert code == 0, output
    before, after = read(compared), read(tmp_path)
    assert [variant["scores"] for variant in after["variants"]] == [variant["scores"] for variant in before["variants"]]
    assert [variant["name"] for variant in after["variants"]] == ["alone", "dice-all"]
    flags_of_first, flags_of_second = (variant["flags"] for variant in after["variants"])
    assert flags_of_first.startswith("--recipe debug; epochs: [1] -> [2]; image_size: [64] -> [32]; ")
    assert flags_of_second == "epochs: [2] -> [1]; loss.dice_on: 'positive' -> 'all'"
    assert (after["hardware"], after["images"]) == ("runs that were trained before", 32)
    other = Path(shutil.copytree(runs / "dice-all-seed-0", tmp_path / "other"))
    (other / "fold-0" / "fold.json").unlink()
    for second, message in (
        (runs / "base-seed-0", f"{alone} and {runs / 'base-seed-0'} have the same recipe and the same seed"),
        (runs, "recipe.json does not exist"),
        (other, f"{other} has no finished fold 0; expected runs with all folds that are compared"),
    ):
        code, output = call_on_one_core("compare", "--runs", alone, second, "--out", tmp_path / "out")
        assert (code, message in output) == (2, True), output
    one_fold = ["--runs", alone, other, "--folds", 1, "--out", tmp_path / "one"]
    code, output = call_on_one_core("compare", *one_fold)
    assert code == 0, output
    record = json.loads((other / "recipe.json").read_text())
    for name, what in (("digest", "dataset"), ("folds_digest", "assignment of images to folds")):
        changed = record | {"dataset": record["dataset"] | {name: "0" * 64}}
        (other / "recipe.json").write_text(json.dumps(changed))
        code, output = call_on_one_core("compare", *one_fold)
        assert (code, f"{other} was trained on another {what} than {alone}" in output) == (2, True), output


def test_a_run_is_no_comparison(alone: Path, dataset: Path, tmp_path: Path, call_on_one_core: Call) -> None:
    path = write_variants(tmp_path)
    for out, message in ((alone, "is a run or a dataset"), (dataset, "which --dataset reads")):
        code, output = call_on_one_core("compare", "--dataset", dataset, "--variants", path, "--out", out)
        assert (code, message in output) == (2, True), output
