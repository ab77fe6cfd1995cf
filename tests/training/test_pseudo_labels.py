"""Pseudo-labels: of the fold's own network, of no image that would leak, and the same after an interruption."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from finished_runs import finish_folds, tiny_recipe
from training_runs import OPTIONS, AfterSteps, During, Never
from unlabeled_data import UNLABELED, build_dataset

from pneumo.dataset.shard_reader import ShardReader
from pneumo.dataset.table import SampleTable
from pneumo.distributed.world import World
from pneumo.modeling import models
from pneumo.runtime.errors import StopRequested, UserError
from pneumo.training.cross_validation import train
from pneumo.training.dry_run import dry_run
from pneumo.training.fold_data import FoldData
from pneumo.training.fold_results import publish_fold, read_fold_histograms
from pneumo.training.inputs import TrainingInputs
from pneumo.training.pseudo_label_config import PseudoLabelConfig
from pneumo.training.pseudo_labels import confident_label, with_labels
from pneumo.training.recipe import Recipe

TINY = tiny_recipe()
ALONE = replace(TINY, model=replace(TINY.model, presence_head=False), loss=replace(TINY.loss, presence=0.0))
STUDENT = replace(ALONE, pseudo_labels=PseudoLabelConfig(share=0.5))
EVERYTHING, NOTHING = "0 9216", "-1"
"""Masks of 96 x 96 pixels."""


@pytest.fixture(scope="module")
def dataset(synthetic, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_dataset(synthetic, tmp_path_factory.mktemp("dataset"))


@pytest.fixture(scope="module")
def teacher(dataset: Path, world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose network of fold 0 marks every pixel, and that of fold 1 none."""
    run = finish_folds(tmp_path_factory.mktemp("runs") / "teacher", dataset, world, ALONE)
    for fold, bias in ((0, 50.0), (1, -50.0)):
        network = models.build(ALONE.model, freeze_unused=False)
        torch.nn.init.constant_(network.net.segmentation_head[0].bias, bias)
        publish_fold(run.fold(fold), network, read_fold_histograms(run.fold(fold), fold), [])
    return run.path


def inputs(dataset: Path, run: Path, teacher: Path | None, recipe: Recipe = STUDENT, folds: Any = (0,)) -> Any:
    return TrainingInputs(
        recipe=recipe, dataset=dataset, run=run, folds=folds, expected=None, options=OPTIONS, teacher=teacher
    )


def file(run: Path, fold: int) -> Path:
    return run / f"fold-{fold}" / "pseudo-labels.parquet"


def labels(run: Path, fold: int) -> dict[str, str]:
    table = pq.read_table(file(run, fold))
    return dict(zip(table["image_id"].to_pylist(), table["mask"].to_pylist(), strict=True))


@pytest.fixture(scope="module")
def trained(dataset: Path, teacher: Path, world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of both folds that nothing interrupted."""
    run = tmp_path_factory.mktemp("students") / "run"
    train(inputs(dataset, run, teacher, folds=(0, 1)), world, Never())
    return run


def test_the_network_of_the_fold_labels_and_no_other(dataset: Path, trained: Path) -> None:
    table = SampleTable.read(dataset)
    images, train_rows = table.select("unlabeled"), table.select("train")
    ids = set(table.image_id[images].tolist())
    assert len(ids) == UNLABELED
    (related,) = [row for row in images.tolist() if table.patient[row] in table.patient[train_rows]]
    own = int(table.fold[train_rows][table.patient[train_rows] == table.patient[related]][0])
    for fold, mask in ((0, EVERYTHING), (1, NOTHING)):
        # The patient of one image is also in a fold, which must not learn from it.
        learned = ids - {str(table.image_id[related])} if fold == own else ids
        assert labels(trained, fold) == dict.fromkeys(learned, mask)


def test_a_fold_trains_on_the_labels(dataset: Path) -> None:
    table = SampleTable.read(dataset)
    first, second = table.select("unlabeled")[:2].tolist()
    data = FoldData.of(ShardReader(dataset, table), 0, 2)
    taught = with_labels(data, {second: "0 40", first: "-1"})
    assert taught.pseudo_rows.tolist() == [first, second]
    assert [bool(taught.reader.table.positive[row]) for row in (first, second)] == [False, True]
    assert [taught.reader.rle(row) for row in (first, second)] == ["-1", "0 40"]
    row = int(np.flatnonzero(table.positive)[0])
    assert taught.reader.rle(row) == data.reader.rle(row) != "-1"
    assert not table.positive[second], "the dataset's own table stays as it is"


NO_HEAD = float("nan")


@pytest.mark.parametrize(
    ("presence", "highest", "mask", "label"),
    [
        pytest.param(0.95, 200, "0 9", "0 9", id="positive"),
        pytest.param(0.85, 255, "0 9", "", id="hardly positive"),
        pytest.param(0.05, 20, "-1", "-1", id="negative"),
        pytest.param(0.05, 128, "-1", "", id="negative, but for a pixel"),
        pytest.param(0.2, 20, "-1", "", id="hardly negative"),
        pytest.param(0.95, 200, "-1", "", id="positive, but too small"),
        pytest.param(NO_HEAD, 240, "0 9", "0 9", id="positive by a pixel"),
        pytest.param(NO_HEAD, 200, "0 9", "", id="hardly positive by a pixel"),
        pytest.param(NO_HEAD, 20, "-1", "-1", id="negative by all pixels"),
        pytest.param(NO_HEAD, 60, "-1", "", id="hardly negative by all pixels"),
    ],
)
def test_only_confident_predictions_are_labels(presence: float, highest: int, mask: str, label: str) -> None:
    counts = np.zeros((1, 2, 256), np.int32)
    counts[0, 0, 3] = 1000
    counts[0, 0, highest] += 1
    predicted: Any = SimpleNamespace(counted=SimpleNamespace(counts=counts, presence=[presence]), position=0, rle=mask)
    assert confident_label(predicted, PseudoLabelConfig()) == label


def test_an_interrupted_run_resumes_to_the_same_weights(
    dataset: Path, teacher: Path, trained: Path, world: World, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    with pytest.raises(StopRequested):
        train(inputs(dataset, run, teacher), world, During("labeling images", 1))
    # Before training begins, what is no file of these labels is replaced.
    file(run, 0).parent.mkdir(exist_ok=True)
    file(run, 0).write_bytes(b"PAR1")
    with pytest.raises(StopRequested):
        train(inputs(dataset, run, teacher), world, AfterSteps(2))
    assert file(run, 0).read_bytes() == file(trained, 0).read_bytes()
    train(inputs(dataset, run, teacher), world, Never())
    for name in ("model.safetensors", "oof.parquet", "pseudo-labels.parquet"):
        assert (run / "fold-0" / name).read_bytes() == (trained / "fold-0" / name).read_bytes()


def test_the_run_records_its_teacher_and_no_other_may_resume_it(
    dataset: Path, teacher: Path, trained: Path, world: World, tmp_path: Path
) -> None:
    record = json.loads((trained / "recipe.json").read_text())
    assert re.fullmatch("[0-9a-f]{64}", record["teacher_sha256"])
    assert record["recipe"]["pseudo_labels"]["share"] == 0.5
    other = finish_folds(tmp_path / "other", dataset, world, ALONE).path
    with pytest.raises(UserError, match="was started with another --teacher"):
        train(inputs(dataset, trained, other), world, Never())
    with pytest.raises(UserError, match="was started with another --teacher"):
        dry_run(inputs(dataset, trained, other), world, 1)
    with pytest.raises(UserError, match=r"--pseudo-labels\.share 0\.5 without --teacher"):
        inputs(dataset, trained, None)
    with pytest.raises(UserError, match=r"without --pseudo-labels\.share"):
        inputs(dataset, trained, teacher, ALONE)


def test_a_planted_file_is_refused(dataset: Path, teacher: Path, trained: Path, world: World, tmp_path: Path) -> None:
    run = shutil.copytree(trained, tmp_path / "run")
    # A fold in training has checkpoints; this one only looks so.
    (run / "fold-0" / "fold.json").unlink()
    (run / "fold-0" / "checkpoints" / "step-00000001-epoch-0000").mkdir(parents=True)
    path, good = file(run, 0), pq.read_table(file(run, 0))

    def refuse(text: str) -> None:
        with pytest.raises(UserError, match=text):
            train(inputs(dataset, run, teacher), world, Never())

    shutil.copy(file(trained, 1), path)
    refuse("expected the pseudo-labels that this fold began with")
    # An image that validates the fold.
    table = SampleTable.read(dataset)
    validation = str(table.image_id[table.select("train", {0})[0]])
    ids = pa.array([validation, *good["image_id"].to_pylist()[1:]])
    pq.write_table(good.set_column(0, good.schema.field(0), ids), path)
    refuse(rf"has images that this fold must not learn from: 1 \({re.escape(validation)}\)")
    masks = pa.array(["9000 9000", *good["mask"].to_pylist()[1:]])
    pq.write_table(good.set_column(1, good.schema.field(1), masks), path)
    refuse("the mask of .* has")
    path.unlink()
    refuse("delete the fold's directory: the same command makes it again")


def test_thresholds_that_overlap_are_refused() -> None:
    with pytest.raises(UserError, match=r"--pseudo-labels\.negative 0\.9; expected less than"):
        PseudoLabelConfig(negative=0.9)
