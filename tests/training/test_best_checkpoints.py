"""The best networks of a fold: which they are, their files while it is trained, and their mean afterwards."""

import copy
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from trained_folds import STEPS, Train, history
from training_runs import AfterSteps, During, shrunk, train_fold

from pneumo.dataset.shard_reader import ShardReader
from pneumo.dataset.table import SampleTable
from pneumo.distributed.stopping import StopFlag
from pneumo.distributed.world import World
from pneumo.inference.build import build
from pneumo.inference.histograms import PredictionHistograms
from pneumo.inference.out_of_fold import predict_histograms
from pneumo.inference.prediction import plan_batches, split_batches
from pneumo.modeling import models
from pneumo.runtime.errors import StopRequested, UserError
from pneumo.training import run_directory
from pneumo.training.best_checkpoints import BestCheckpoints, best_epochs
from pneumo.training.run_directory import FoldDirectory

TOP_TWO = replace(shrunk("debug"), epochs=(4,), keep="best", best_checkpoints=2)


def entries(*scores: float | None, stage: int = 0) -> list[dict[str, float]]:
    return [
        {"epoch": n + 1, "stage": stage} | ({} if score is None else {"val/dice_best_rule": score})
        for n, score in enumerate(scores)
    ]


def test_the_best_epochs_are_those_with_the_best_scores_and_of_equal_ones_the_earlier() -> None:
    found = entries(0.7, 0.8, None, 0.8, 0.6, 0.75)
    assert best_epochs(found, 0, 3) == [2, 4, 6]
    assert best_epochs(found, 0, 10) == [2, 4, 6, 1, 5]
    assert best_epochs(found, 1, 3) == []


def write_all(directory: Path, scores: list[float]) -> Iterator[set[int]]:
    """Yield the epochs that have a file after each validation."""
    best, network = BestCheckpoints(directory, 0, 2), nn.Linear(1, 1, bias=False)
    for n in range(len(scores)):
        nn.init.constant_(network.weight, n + 1)
        best.update(entries(*scores[: n + 1]), network)
        epochs = {int(path.stem[6:]) for path in directory.glob("*.safetensors")}
        names = {f"epoch-{epoch:04d}{suffix}" for epoch in epochs for suffix in (".safetensors", ".sha256")}
        assert names == {path.name for path in directory.iterdir()}
        yield epochs


def test_a_file_goes_when_both_checkpoints_know_better_ones(tmp_path: Path) -> None:
    scores = [0.5, 0.6, 0.7, 0.8, 0.1, 0.1, 0.1]
    found = list(write_all(tmp_path / "best", scores))
    # Of the last history the two best; those of the histories before it are still there.
    assert found == [{1}, {1, 2}, {1, 2, 3}, {1, 2, 3, 4}, {2, 3, 4}, {3, 4}, {3, 4}]
    assert load_file(tmp_path / "best" / "epoch-0003.safetensors")["weight"].item() == 3
    (tmp_path / "best" / "epoch-0004.safetensors").unlink()
    with pytest.raises(UserError, match=r"epoch-0004.*; expected the weights that training wrote; restore the file"):
        BestCheckpoints(tmp_path / "best", 0, 2).load(entries(*scores), nn.Linear(1, 1, bias=False))


def test_weights_that_were_changed_after_training_wrote_them_are_refused(tmp_path: Path) -> None:
    list(write_all(tmp_path / "best", [0.5, 0.6]))
    best, network = BestCheckpoints(tmp_path / "best", 0, 2), nn.Linear(1, 1, bias=False)
    path = tmp_path / "best" / "epoch-0002.safetensors"
    whole = path.read_bytes()
    # The last byte is in the number itself: the file can be read.
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert load_file(path)["weight"].item() != 2
    with pytest.raises(UserError, match=r"epoch-0002.safetensors: .*another SHA-256 than in .*; restore the file"):
        best.load(entries(0.5, 0.6), network)
    path.write_bytes(whole)
    best.load(entries(0.5, 0.6), network)
    path.with_suffix(".sha256").unlink()
    with pytest.raises(UserError, match=r"epoch-0002.sha256"):
        best.load(entries(0.5, 0.6), network)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kept")


@pytest.fixture(scope="module")
def uninterrupted(
    dataset: Path, world: World, tmp_path_factory: pytest.TempPathFactory, kept: Path
) -> Iterator[FoldDirectory]:
    """A fold, of which each validated network is copied to ``kept``."""
    update = BestCheckpoints.update

    def update_and_keep(best: BestCheckpoints, history: list[dict[str, float]], network: nn.Module) -> None:
        torch.save(copy.deepcopy(network.state_dict()), kept / f"{len(history)}.pt")
        update(best, history, network)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BestCheckpoints, "update", update_and_keep)
        yield train_fold(tmp_path_factory.mktemp("best") / "whole", dataset, world, TOP_TWO)


def test_the_fold_s_predictions_are_the_plain_mean_of_its_best_networks(
    uninterrupted: FoldDirectory, kept: Path, dataset: Path, world: World
) -> None:
    """Each network is loaded by hand, and predicts by itself."""
    scores = [entry["val/dice_best_rule"] for entry in json.loads(uninterrupted.summary.read_text())["history"]]
    best = sorted(range(len(scores)), key=lambda n: (-scores[n], n))[:2]
    reader = ShardReader(dataset, SampleTable.read(dataset))
    rows = reader.table.select("train", {0})
    loader, mean = build(TOP_TWO.inference, reader, world.device, workers=1)
    mean.network.load_state_dict(load_file(uninterrupted.model))
    single = build(replace(TOP_TWO.inference, members=1), reader, world.device, workers=1)[1]
    batches = list(loader(plan_batches(split_batches(rows), TOP_TWO.inference.size)))
    of_each = []
    for n in best:
        single.network.load_state_dict(torch.load(kept / f"{n + 1}.pt"))
        of_each.append([single(batch.image) for batch in batches])
    for index, batch in enumerate(batches):
        found = mean(batch.image)
        pixels, presence = (
            torch.stack([getattr(each[index], name).double() for each in of_each]).mean(dim=0)
            for name in ("pixels", "presence")
        )
        torch.testing.assert_close(found.pixels.double(), pixels, rtol=1e-5, atol=1e-7)
        torch.testing.assert_close(found.presence.double(), presence, rtol=1e-5, atol=1e-7)
    published = PredictionHistograms.read(uninterrupted.histograms)
    again = predict_histograms(mean, loader, reader, rows, world)
    assert again is not None
    assert np.array_equal(published.predicted, again.predicted)
    assert np.array_equal(published.presence_probability, again.presence_probability)
    assert not uninterrupted.best.exists()


@pytest.mark.parametrize(
    "stop",
    [
        pytest.param(AfterSteps(3 * STEPS), id="before a validation", marks=pytest.mark.slow),
        pytest.param(During("validating", 3 * (STEPS + 2)), id="in it"),
        pytest.param(During("predicting its images", 2), id="at the end", marks=pytest.mark.slow),
    ],
)
def test_an_interrupted_fold_has_the_same_networks(
    train: Train, uninterrupted: FoldDirectory, tmp_path: Path, stop: StopFlag
) -> None:
    with pytest.raises(StopRequested):
        train("pieces", TOP_TWO, stop)
    assert len(list(run_directory.load(tmp_path / "pieces").fold(0).best.iterdir())) >= 1
    assert run_directory.foreign_files(tmp_path / "pieces") == []
    pieces = train("pieces", TOP_TWO)
    assert pieces.model.read_bytes() == uninterrupted.model.read_bytes()
    assert pieces.histograms.read_bytes() == uninterrupted.histograms.read_bytes()
    assert repr(history(pieces)) == repr(history(uninterrupted))


def test_one_network_has_no_files_of_its_own_and_the_names_of_a_plain_one(train: Train) -> None:
    directory = train("run", replace(TOP_TWO, epochs=(1,), best_checkpoints=1))
    assert load_file(directory.model).keys() == models.build(TOP_TWO.model).state_dict().keys()
