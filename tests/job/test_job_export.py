"""job/export.py as a user runs it, and what others do with what it wrote."""

import csv
import re
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from job_commands import JOB, RECIPE, interrupted, run, start
from waiting import LONG_S

from pneumo.dataset.shard_reader import ShardReader
from pneumo.dataset.table import SampleTable
from pneumo.inference import onnx_check
from pneumo.inference.decision_rule import DecisionRule, write_rule
from pneumo.inference.histograms import PredictionHistograms
from pneumo.inference.onnx_export import MeanOfNetworks
from pneumo.masks import rle
from pneumo.modeling import models
from pneumo.synthetic.tree import SyntheticTree
from pneumo.training import exported_model

Call = Callable[..., tuple[object, str]]


@pytest.fixture(scope="module")
def masking(alone: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose rule calls most images positive, with masks of a part of the image."""
    copy = shutil.copytree(alone, tmp_path_factory.mktemp("masking") / "run")
    histograms = PredictionHistograms.read(copy / "oof.parquet")
    # Half of all pixels are at or above it, whatever the networks have learned.
    pixels = np.cumsum((histograms.inside + histograms.outside).sum(axis=0))
    middle = int(np.searchsorted(pixels, pixels[-1] / 2))
    write_rule(copy / "thresholds.json", DecisionRule(middle, 0.0, middle))
    return copy


@pytest.fixture(scope="module")
def model(masking: Path, dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("exported") / "model"
    code, output = run([JOB / "export.py", "--run", masking, "--dataset", dataset, "--out", out])
    assert code == 0, output
    assert f"wrote {out}; begin with {out / 'model_card.md'}" in output
    assert re.search(r"ONNX Runtime and torch differ by at most \S+ in a probability, on 4 images of the data", output)
    return out


def test_predictions_of_the_model_are_those_of_the_run(
    masking: Path, model: Path, synthetic: SyntheticTree, tmp_path: Path, call_on_one_core: Call
) -> None:
    for name, source in (("run", masking), ("model", model)):
        words = ["--run", source, "--dicom", synthetic.test_dicom, "--out", tmp_path / name]
        code, output = call_on_one_core("predict", *words)
        assert code in (0, None), output
    for name in ("predictions.csv", "findings.csv"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "model" / name).read_bytes(), name


def test_a_changed_file_is_refused_before_anything_is_predicted(
    model: Path, synthetic: SyntheticTree, tmp_path: Path, call_on_one_core: Call
) -> None:
    copy = shutil.copytree(model, tmp_path / "copy")
    data = bytearray((copy / "fold-0.safetensors").read_bytes())
    data[-1] ^= 1
    (copy / "fold-0.safetensors").write_bytes(data)
    words = ["--run", copy, "--dicom", synthetic.test_dicom, "--out", tmp_path / "out"]
    code, output = call_on_one_core("predict", *words)
    assert code == 2
    assert "fold-0.safetensors has another SHA-256; expected the files of an exported model" in output
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", ["train", "ensemble"])
def test_other_commands_ask_for_a_run(
    model: Path, dataset: Path, tmp_path: Path, call_on_one_core: Call, command: str
) -> None:
    before = sorted(entry.name for entry in model.iterdir())
    flags = {"train": ["--run", model, *RECIPE], "ensemble": ["--runs", model, "--out", tmp_path / "s.csv"]}
    code, output = call_on_one_core(command, "--dataset", dataset, *flags[command])
    assert code == 2, output
    assert {"train": "expected a new or empty directory, or a run", "ensemble": "an exported model can be"}[
        command
    ] in output
    assert sorted(entry.name for entry in model.iterdir()) == before


def test_the_program_of_the_model_card_gives_the_masks_of_the_command(
    model: Path, dataset: Path, tmp_path: Path, call_on_one_core: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = (model / "model_card.md").read_text().partition("```python\n")[2].partition("```")[0]
    # Of the networks' size: where an image is made smaller, the two differ.
    size = int(program.partition("SIZE = ")[2].partition("\n")[0])
    images = tmp_path / "images"
    images.mkdir()
    reader = ShardReader(dataset, SampleTable.read(dataset))
    drawn = (onnx_check.dataset_images(reader, size)[:, 0].numpy() * 255).astype(np.uint8)
    for n, image in enumerate(drawn):
        cv2.imwrite(str(images / f"{n}.png"), image)
    code, output = call_on_one_core("predict", "--run", model, "--dicom", images, "--out", tmp_path / "out")
    assert code in (0, None), output
    with (tmp_path / "out" / "predictions.csv").open() as file:
        expected = {row["ImageId"]: row["EncodedPixels"] for row in csv.DictReader(file)}
    monkeypatch.chdir(model)
    names: dict[str, Callable[[np.ndarray], np.ndarray]] = {}
    exec(compile(program, "model_card.md", "exec"), names)
    masks = [names["segment"](image) for image in drawn]
    assert any(0 < mask.mean() < 1 for mask in masks)
    for n, mask in enumerate(masks):
        np.testing.assert_array_equal(mask, rle.decode(expected[str(n)], size, size).astype(bool))


@pytest.mark.parametrize("by", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_an_interrupted_export_leaves_no_model_and_the_next_one_works(
    masking: Path, tmp_path: Path, by: signal.Signals
) -> None:
    words = [JOB / "export.py", "--run", masking, "--no-onnx", "--out", tmp_path / "out" / "model"]
    process = start(words, launcher=interrupted(tmp_path / "interruption", r"thresholds\.json$", by))
    process.communicate(timeout=LONG_S)
    assert process.returncode != 0
    assert not (tmp_path / "out" / "model").exists()
    code, output = run(words)
    assert code == 0, output
    assert [entry.name for entry in (tmp_path / "out").iterdir()] == ["model"]


@pytest.mark.siim
def test_the_networks_agree_with_onnx_on_real_images(
    masking: Path, siim: Path, model: Path, tmp_path: Path, call_on_one_core: Call
) -> None:
    inputs = ["--dicom", siim / "sample10", "--masks", siim / "sample10" / "train-rle-sample.csv"]
    code, output = call_on_one_core(
        "shard", *inputs, "--num-folds", 2, "--max-quarantined", 20, "--out", tmp_path / "data"
    )
    assert code in (0, None), output
    reader = ShardReader(tmp_path / "data", SampleTable.read(tmp_path / "data"))
    found = exported_model.load(model)
    networks = []
    for weights in found.weights:
        networks.append(models.build(found.recipe.model))
        weights.load(networks[-1], weights.read())
    mean = MeanOfNetworks(networks, found.recipe.tta, presence_head=found.recipe.model.presence_head)
    images = onnx_check.dataset_images(reader, found.recipe.inference.size)
    assert len(images) == onnx_check.IMAGES
    assert onnx_check.check(model / "model.onnx", mean, images) < 1e-4
