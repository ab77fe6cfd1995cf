"""Unlabeled images from their DICOMs to a network that has learned from them, by the commands."""

import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import safetensors.torch
import torch
from job_commands import JOB, RECIPE, accelerate, run, run_all, train, weights

from pneumo.synthetic.tree import SyntheticTree

LABELS = ["--pseudo-labels.share", "0.3", "--pseudo-labels.positive", "0.01", "--pseudo-labels.negative", "0"]
LABELS += ["--pseudo-labels.threshold", "0.004", "--pseudo-labels.min-area", "0", "--epochs", "1"]
"""Whatever a network says, the image is positive."""


@pytest.fixture(scope="module")
def unlabeled(synthetic: SyntheticTree, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dataset of the other tests with its test images beside the labeled ones, without a label."""
    directory = tmp_path_factory.mktemp("unlabeled")
    shutil.copytree(synthetic.dicom, directory / "dicom")
    shutil.copytree(synthetic.test_dicom, directory / "dicom" / "unlabeled")
    words = ["--dicom", directory / "dicom", "--masks", synthetic.masks, "--patients", synthetic.patients]
    words += ["--keep-unlabeled", "--out", directory / "dataset", "--num-folds", 2, "--workers", 1]
    (built, output), (verified, _) = run_all([("shard", words), ("verify", ["--dataset", directory / "dataset"])])
    assert (built, verified) == (0, 0), output
    assert "38 files found = 38 samples + 0 quarantined + 0 left out + 0 unlabeled" in output
    assert "6 unlabeled images" in output
    return directory / "dataset"


AGREE = ["--consistency.images", "4", "--epochs", "1"]


@pytest.mark.slow
def test_ranks_share_the_unlabeled_images_of_a_step(unlabeled: Path, tmp_path: Path) -> None:
    one = train(unlabeled, tmp_path / "one", *AGREE)
    train(unlabeled, tmp_path / "two", "--folds", 0, *AGREE, launcher=accelerate())
    assert "fold 0 has 4 of 6 unlabeled images in each step" in one
    assert "Consistency loss" in (tmp_path / "one" / "report.html").read_text()
    single, together = (safetensors.torch.load(weights(tmp_path / run)) for run in ("one", "two"))
    for name, tensor in single.items():
        # Variances are of two values where the images end up as one pixel: they enlarge what is rounded otherwise.
        tolerance = {"rtol": 3e-2, "atol": 1e-2} if "running_" in name else {"rtol": 0.0, "atol": 1e-3}
        torch.testing.assert_close(together[name], tensor, **tolerance, msg=name)
    losses = [json.loads((tmp_path / run / "fold-0" / "fold.json").read_text())["history"][0] for run in ("one", "two")]
    assert losses[0]["train/consistency"] > 0
    for name in ("total", "consistency", "bce"):
        assert losses[1][f"train/{name}"] == pytest.approx(losses[0][f"train/{name}"], rel=1e-3), name


def test_the_plan_has_the_unlabeled_images_of_a_step(unlabeled: Path, dataset: Path, tmp_path: Path) -> None:
    def plan(where: Path, *words: object) -> tuple[int, str]:
        return run([JOB / "train.py", "--dataset", where, "--run", tmp_path / "run", *RECIPE, *AGREE, *words])

    code, output = plan(unlabeled, "--dry-run")
    assert code == 0, output
    assert "training images, 6 unlabeled, " in output
    assert "images an epoch in steps of 4 and 4 unlabeled images, positive rate" in output
    assert "s for 2 images on a rank with the unlabeled ones beside them, " in output
    for words in ([], ["--dry-run"]):
        code, output = plan(dataset, *words)
        assert code == 2
        assert "--consistency.images 4, and the dataset has no unlabeled images" in output
    for words, text in (
        (["--ema-decay", 0], "--consistency.images 4; expected 0, or --ema-decay above 0"),
        (["--consistency.images", 3], "--consistency.images 3; expected a multiple of --micro-batch-size 2"),
    ):
        code, output = plan(unlabeled, *words)
        assert code == 2
        assert text in output
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_ranks_share_the_labeling_and_the_training(alone: Path, unlabeled: Path, tmp_path: Path) -> None:
    asked = ["--folds", 0, "--teacher", alone, *LABELS]
    one = train(unlabeled, tmp_path / "one", *asked)
    train(unlabeled, tmp_path / "two", *asked, launcher=accelerate())
    assert "fold 0 learns from 6 pseudo-labeled images" in one
    labels = [pq.read_table(tmp_path / run / "fold-0" / "pseudo-labels.parquet") for run in ("one", "two")]
    assert len(labels[0]) == 6
    assert labels[0]["image_id"] == labels[1]["image_id"]
    single, together = (safetensors.torch.load(weights(tmp_path / run)) for run in ("one", "two"))
    for name, tensor in single.items():
        torch.testing.assert_close(together[name], tensor, rtol=2e-3, atol=2e-3, msg=name)


def test_the_plan_counts_the_images_that_may_be_labeled(alone: Path, unlabeled: Path, tmp_path: Path) -> None:

    words = [JOB / "train.py", "--dataset", unlabeled, "--run", tmp_path / "run", *RECIPE, *LABELS, "--dry-run"]
    code, output = run([*words, "--teacher", alone])
    assert code == 0, output
    assert "at most 6 pseudo-labeled" in output
    code, output = run(words)
    assert code == 2
    assert "--pseudo-labels.share 0.3 without --teacher" in output
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_variant_of_a_comparison_may_have_a_teacher(alone: Path, unlabeled: Path, tmp_path: Path) -> None:
    recipe = " ".join(word for word in RECIPE if word not in ("--checkpoint-minutes", "0.001"))
    labels, variants, out = " ".join(LABELS), tmp_path / "variants.txt", tmp_path / "out"
    command = [JOB / "compare.py", "--dataset", unlabeled, "--variants", variants, "--out", out, "--folds", 0]
    lines = [f"plain: {recipe} --epochs 1", f"none: {recipe} {labels} --teacher {tmp_path / 'none'}"]
    lines.append(f"unfinished: {recipe} {labels} --teacher {unlabeled}")
    variants.write_text("\n".join(lines))
    code, output = run(command)
    assert code == 2, output
    assert "2 mistakes: " in output
    assert "line 2, variant none: " in output
    assert "line 3, variant unfinished: " in output
    assert not (out / "runs").exists()
    variants.write_text(f"{lines[0]}\ntaught: {recipe} {labels} --teacher {alone}\n")
    code, output = run(command)
    assert code == 0, output
    train(unlabeled, tmp_path / "one", "--folds", 0, "--teacher", alone, *LABELS)
    assert weights(out / "runs" / "taught-seed-0") == weights(tmp_path / "one")
    assert weights(out / "runs" / "plain-seed-0") != weights(tmp_path / "one")


@pytest.mark.slow
def test_a_finished_run_of_a_comparison_may_teach_another_variant_of_it(unlabeled: Path, tmp_path: Path) -> None:
    recipe = " ".join(word for word in RECIPE if word not in ("--checkpoint-minutes", "0.001")) + " --epochs 1"
    labels = " ".join(map(str, LABELS))
    variants, out = tmp_path / "variants.txt", tmp_path / "out"
    command = [JOB / "compare.py", "--dataset", unlabeled, "--variants", variants, "--out", out]
    two = f"plain: {recipe}\nno-tta: {recipe} --tta\n"
    variants.write_text(two)
    code, output = run(command)
    assert code == 0, output
    itself = out / "runs" / "pupil-seed-0"
    variants.write_text(two + f"pupil: {recipe} {labels} --teacher {itself}\n")
    code, output = run(command)
    assert code == 2, output
    assert f"--out would replace {itself}, which --teacher reads" in output
    teacher = out / "runs" / "plain-seed-0"
    variants.write_text(two + f"pupil: {recipe} {labels} --teacher {teacher}\n")
    code, output = run(command)
    assert code == 0, output
    train(unlabeled, tmp_path / "alone", "--epochs", 1, "--teacher", teacher, *LABELS)
    for fold in (0, 1):
        assert weights(itself, fold) == weights(tmp_path / "alone", fold)
        assert weights(itself, fold) != weights(teacher, fold)
