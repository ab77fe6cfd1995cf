"""A fold's results are read back only as training wrote them."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from finished_runs import finish_folds

from pneumo.distributed.world import World
from pneumo.inference.histograms import PredictionHistograms
from pneumo.runtime.errors import UserError
from pneumo.runtime.files import sha256
from pneumo.training import run_directory
from pneumo.training.fold_results import publish_fold, read_histograms, read_history, trained_weights
from pneumo.training.run_directory import FoldDirectory, RunDirectory


@pytest.fixture(scope="module")
def folds(dataset: Path, world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finish_folds(tmp_path_factory.mktemp("run") / "run", dataset, world).path


@pytest.fixture
def run(folds: Path, tmp_path: Path) -> RunDirectory:
    """A run of its own for each test."""
    return run_directory.load(shutil.copytree(folds, tmp_path / "run"))


def test_histograms_are_those_of_the_folds_in_order(run: RunDirectory) -> None:
    parts = [PredictionHistograms.read(run.fold(k).histograms) for k in (0, 1)]
    whole = read_histograms(run)
    assert whole.image_id.tolist() == [*parts[0].image_id.tolist(), *parts[1].image_id.tolist()]
    assert np.array_equal(whole.inside, np.concatenate([part.inside for part in parts]))
    assert np.array_equal(whole.outside, np.concatenate([part.outside for part in parts]))


def test_weights_are_those_of_the_folds_in_order(run: RunDirectory) -> None:
    weights = trained_weights(run)
    assert [(w.path, w.sha256) for w in weights] == [(run.fold(k).model, sha256(run.fold(k).model)) for k in (0, 1)]


def test_histograms_of_another_fold_are_refused(run: RunDirectory) -> None:
    shutil.copyfile(run.fold(0).histograms, run.fold(1).histograms)
    with pytest.raises(UserError, match=r"fold-1/oof\.parquet has predictions of fold 0; expected those of fold 1"):
        read_histograms(run)


def test_histograms_of_another_run_are_refused(run: RunDirectory, dataset: Path, world: World, tmp_path: Path) -> None:
    other = finish_folds(tmp_path / "other", dataset, world, seed=1)
    shutil.copyfile(other.fold(1).histograms, run.fold(1).histograms)
    with pytest.raises(UserError, match=r"fold-1/oof\.parquet is not the file that training wrote"):
        read_histograms(run)


def test_an_image_in_two_folds_is_refused(run: RunDirectory) -> None:
    first, second = (PredictionHistograms.read(run.fold(k).histograms) for k in (0, 1))
    second.image_id[3] = first.image_id[5]
    second.write(run.fold(1).histograms)
    content = json.loads(run.fold(1).summary.read_text())
    content["histograms_sha256"] = sha256(run.fold(1).histograms)
    run.fold(1).summary.write_text(json.dumps(content))
    with pytest.raises(UserError, match=rf"fold-1/oof\.parquet has images of another fold: 1 \({first.image_id[5]}\)"):
        read_histograms(run)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (
            None,
            r"fold-0/fold\.json does not exist; expected .* finished fold; copy the whole directory of the fold from",
        ),
        ("{", r"fold-0/fold\.json cannot be read"),
        ('{"format_version": 2, "history": []}', r"fold-0/fold\.json has format version 2; expected format version 3"),
        ('{"format_version": 3, "history": []}', r"fold\.json\.weights_sha256 is missing"),
    ],
)
def test_without_digests_a_fold_is_refused(run: RunDirectory, content: str | None, text: str) -> None:
    if content is None:
        run.fold(0).summary.unlink()
    else:
        run.fold(0).summary.write_text(content)
    with pytest.raises(UserError, match=text):
        trained_weights(run)
    with pytest.raises(UserError, match=text):
        read_histograms(run)


@pytest.mark.parametrize("value", ['"x"', "null", "[1]", "NaN"])
def test_a_history_of_something_else_than_numbers_is_refused(run: RunDirectory, value: str) -> None:
    content = json.loads(run.fold(0).summary.read_text()) | {"history": [{"epoch": 1, "train/total": "VALUE"}]}
    run.fold(0).summary.write_text(json.dumps(content).replace('"VALUE"', value))
    with pytest.raises(UserError, match=r"fold-0/fold\.json"):
        read_history(run.fold(0))


def test_weights_that_are_not_finite_finish_no_fold(run: RunDirectory) -> None:
    fold = FoldDirectory(run.path / "fold-7")
    model = torch.nn.Linear(2, 2)
    torch.nn.init.constant_(model.bias, torch.nan)
    with pytest.raises(UserError, match=r"fold-7/model\.safetensors: bias is not finite; .*train the fold again"):
        publish_fold(fold, model, read_histograms(run), [])
    assert not fold.path.exists()
