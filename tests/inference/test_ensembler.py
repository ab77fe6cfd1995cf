"""The ensemble against the plain mean of its runs, whatever the blocks and the ranks."""

import weakref
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

from pneumo.dataset.shard_reader import ShardReader
from pneumo.dataset.table import Rows
from pneumo.dicom import image_codec
from pneumo.distributed.world import World
from pneumo.inference import decision_rule
from pneumo.inference import ensembler as ensembler_module
from pneumo.inference import prediction as prediction_module
from pneumo.inference.build import InferenceConfig
from pneumo.inference.decision_rule import DecisionRule
from pneumo.inference.ensembler import EnsembledRun, Ensembler, PredictedImage
from pneumo.inference.histograms import BINS, quantize
from pneumo.inference.predictor import Predictor, to_source
from pneumo.loading.build import build_loader
from pneumo.loading.contract import BatchPlan
from pneumo.masks import rle
from pneumo.modeling import models
from pneumo.modeling.models import ModelConfig
from pneumo.modeling.segmenter import Segmenter
from pneumo.runtime.errors import UserError

RULE = DecisionRule(top_bin=120, min_area=1.0, bottom_bin=100, presence_threshold=0.0)
CONFIGS = tuple(
    InferenceConfig(
        model=ModelConfig(encoder="mobilenet_v2", presence_head=presence_head),
        size=size,
        tta=("hflip",),
        loader="opencv",
        precision="fp32",
        channels_last=True,
    )
    for presence_head, size in ((True, 64), (False, 32), (True, 32))
)
WEIGHTS = (0.6, 0.25, 0.15)


@pytest.fixture(scope="module")
def networks() -> list[list[Segmenter]]:
    """Two folds of each configuration."""
    torch.manual_seed(0)
    networks = [[models.build(config.model).eval() for _ in range(2)] for config in CONFIGS]
    for name, parameter in (item for folds in networks for network in folds for item in network.named_parameters()):
        if name.endswith("classification_head.3.bias"):
            # Without training every presence probability is 0.5, whatever the weights of the mean.
            torch.nn.init.normal_(parameter)
    return networks


@pytest.fixture(scope="module")
def runs(networks: list[list[Segmenter]], tmp_path_factory: pytest.TempPathFactory) -> list[EnsembledRun]:
    directory = tmp_path_factory.mktemp("weights")
    result = []
    for r, (config, weight) in enumerate(zip(CONFIGS, WEIGHTS, strict=True)):
        paths = []
        for k, network in enumerate(networks[r]):
            paths.append(directory / f"{r}-{k}.safetensors")
            safetensors.torch.save_file(network.state_dict(), paths[-1])
        result.append(EnsembledRun(config=config, weight_files=tuple(paths), weight=weight))
    return result


@pytest.fixture
def rows(reader: ShardReader, monkeypatch: pytest.MonkeyPatch) -> Rows:
    """Rows of both splits, in five batches."""
    monkeypatch.setattr(prediction_module, "BATCH_SIZE", 2)
    return np.arange(0, len(reader.table), 4)


def make(runs: Sequence[EnsembledRun], reader: ShardReader, world: World, **options: float) -> Ensembler:
    return Ensembler(runs, RULE, reader=reader, world=world, workers=1, **options)


def by_hand(
    networks: list[list[Segmenter]], runs: Sequence[EnsembledRun], reader: ShardReader, world: World, row: int
) -> tuple[np.ndarray, float]:
    """Average one image's maps in the plainest way."""
    table = reader.table
    total = torch.zeros(table.shape(row))
    presence, presence_weights = 0.0, 0.0
    for run, folds in zip(runs, networks, strict=True):
        plan = BatchPlan(
            rows=np.array([row]), positions=np.array([0]), epoch=0, size=run.config.size, seed=0, augmentation=None
        )
        loader = build_loader("opencv", reader, world.device, workers=1)
        (batch,) = loader([plan])
        for network in folds:
            predictor = Predictor(network, size=run.config.size, tta=("hflip",), autocast=nullcontext)
            pixels, probability = predictor(batch.image)
            total += run.weight / len(folds) * to_source(pixels[0], *total.shape)
            if run.config.model.presence_head:
                presence += run.weight * float(probability[0])
                presence_weights += run.weight
    return total.numpy(), presence / presence_weights


def test_the_mean_is_taken_over_folds_runs_and_views(
    networks: list[list[Segmenter]], runs: list[EnsembledRun], reader: ShardReader, world: World
) -> None:
    rows = reader.table.select("test")
    predictions = make(runs, reader, world).run(rows)
    assert [f.image_id for f in predictions] == reader.table.image_id[rows].tolist()
    for prediction, row in zip(predictions, rows.tolist(), strict=True):
        total, presence = by_hand(networks, runs, reader, world, row)
        mask = decision_rule.apply_rule(quantize(total), RULE, presence)
        mine = rle.decode(prediction.rle, *mask.shape)
        # Sums in another order may move a pixel across a threshold.
        assert np.mean(mask != mine) < 1e-3
        assert prediction.presence_probability == pytest.approx(presence, abs=1e-5)
        assert prediction.mask_area == mine.sum()
    assert any(f.mask_area for f in predictions), "the rule finds something, so that the comparison means something"


def test_blocks_and_ranks_do_not_change_a_prediction(
    runs: list[EnsembledRun], reader: ShardReader, world: World, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    ensembler = make(runs, reader, world)
    whole = ensembler.run(rows)
    monkeypatch.setattr(ensembler_module, "BLOCK", 1)
    for ranks in (2, 3):
        parts: list[Any] = []
        monkeypatch.setattr(World, "gather", lambda _, part, parts=parts: parts.append(part) or parts)
        # The leader last, when the others have sent their parts.
        for rank in reversed(range(ranks)):
            ensembler.world = replace(world, rank=rank, size=ranks)
            predictions = ensembler.run(rows)
        assert predictions == whole
        assert min(map(len, parts)) > 0
        assert sum(map(len, parts)) == len(rows)


def test_weights_of_another_network_are_refused(runs: list[EnsembledRun], reader: ShardReader, world: World) -> None:
    wrong = replace(runs[0], weight_files=runs[1].weight_files, weight=1.0)
    with pytest.raises(UserError, match="the weights of a finished fold"):
        make([wrong], reader, world).run(reader.table.select("test"))


def test_damaged_weights_are_refused(
    runs: list[EnsembledRun], reader: ShardReader, world: World, tmp_path: Path
) -> None:
    torn = tmp_path / "model.safetensors"
    torn.write_bytes(runs[0].weight_files[0].read_bytes()[:5000])
    with pytest.raises(UserError, match=r"model\.safetensors: .*; expected the weights of a finished fold"):
        make([replace(runs[0], weight_files=(torn,), weight=1.0)], reader, world).run(reader.table.select("test"))


def test_every_image_is_given_with_its_pixels(
    runs: list[EnsembledRun], reader: ShardReader, world: World, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ensembler_module, "BLOCK", 1)
    images: list[PredictedImage] = []
    predictions = make(runs, reader, world).run(rows, images.append)
    assert [image.prediction for image in images] == predictions
    assert [image.row for image in images] == rows.tolist()
    for image in images:
        shape = reader.table.shape(image.row)
        assert image.probability.shape == image.mask.shape == image.source.shape == shape
        assert image.prediction.max_pixel_probability == int(image.probability.max() * BINS) / BINS
        assert rle.encode(image.mask) == image.prediction.rle
        expected = decision_rule.apply_rule(quantize(image.probability), RULE, image.prediction.presence_probability)
        assert np.array_equal(image.mask, expected)
        decoded = image_codec.to_float(image_codec.decode(reader.image(image.row)))
        assert np.array_equal(image.source, decoded)


def test_source_is_decoded_only_when_it_is_asked_for(
    runs: list[EnsembledRun], reader: ShardReader, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    images: list[PredictedImage] = []
    make(runs, reader, world).run(reader.table.select("test"), images.append)
    monkeypatch.setattr(ensembler_module, "read_image", lambda *_: pytest.fail("decoded"))
    with pytest.raises(pytest.fail.Exception, match="decoded"):
        _ = images[0].source


def test_pixels_are_held_for_one_block_only(
    runs: list[EnsembledRun], reader: ShardReader, world: World, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ensembler_module, "BLOCK", 1)
    alive: list[weakref.ref[PredictedImage]] = []
    most = 0

    def count(image: PredictedImage) -> None:
        nonlocal most
        alive.append(weakref.ref(image))
        most = max(most, sum(reference() is not None for reference in alive))

    make(runs, reader, world).run(rows, count)
    assert len(alive) == len(rows) > most
    assert most <= 2, "the image itself, and the one before until its name is taken"


def test_small_components_are_removed_from_mask_and_numbers(
    runs: list[EnsembledRun], reader: ShardReader, world: World
) -> None:
    images: list[PredictedImage] = []
    predictions = make(runs, reader, world, min_component=2.0**20).run(reader.table.select("test"), images.append)
    whole = make(runs, reader, world).run(reader.table.select("test"))
    assert any(prediction.mask_area for prediction in whole)
    # Only a component of the whole image's size is left.
    for prediction, image in zip(predictions, images, strict=True):
        assert prediction.mask_area in (0, image.mask.size)
        assert (prediction.rle == rle.EMPTY) == (prediction.mask_area == 0) == (not image.mask.any())
