"""The mean of networks against the plainest one, in blocks of any length, within a bounded memory."""

import gc
import math
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from ensembles import CONFIGS, average_by_hand

from pneumo.dataset.shard_reader import ShardReader
from pneumo.dataset.table import Rows
from pneumo.distributed.world import World
from pneumo.inference import fold_networks, network_mean
from pneumo.inference import prediction as prediction_module
from pneumo.inference.fold_networks import WeightCache
from pneumo.inference.network_mean import EnsembledRun, NetworkMean
from pneumo.inference.prediction import count_pixels, split_batches
from pneumo.modeling.segmenter import Segmenter
from pneumo.modeling.trained_weights import TrainedWeights


@pytest.fixture
def rows(reader: ShardReader, monkeypatch: pytest.MonkeyPatch) -> Rows:
    """Rows of both splits, in five batches."""
    monkeypatch.setattr(prediction_module, "BATCH_SIZE", 2)
    monkeypatch.setattr(network_mean, "BATCH_SIZE", 2)
    return np.arange(0, len(reader.table), 4)


class Predicted(NamedTuple):
    row: int
    probability: np.ndarray
    presence_probability: float


def predict(mean: NetworkMean, rows: Rows, fold: int | None = None) -> list[Predicted]:
    return [
        Predicted(row, batch.probability(i).numpy(), float(batch.presence[i]))
        for batch in mean.predict(split_batches(rows), fold)
        for i, row in enumerate(batch.rows)
    ]


def same(left: list[Predicted], right: list[Predicted]) -> bool:
    return len(left) == len(right) and all(
        a.row == b.row
        and np.array_equal(a.probability, b.probability)
        and (a.presence_probability == b.presence_probability)
        for a, b in zip(left, right, strict=True)
    )


@pytest.mark.parametrize("fold", [None, 0, 1])
def test_the_mean_is_taken_over_folds_runs_and_views(
    networks: list[list[Segmenter]],
    runs: list[EnsembledRun],
    reader: ShardReader,
    world: World,
    rows: Rows,
    fold: int | None,
) -> None:
    mean = NetworkMean(runs, reader=reader, world=world, workers=1)
    predicted = predict(mean, rows, fold)
    assert [p.row for p in predicted] == rows.tolist()
    for p in predicted:
        probability, presence = average_by_hand(networks, runs, reader, world, p.row, fold)
        np.testing.assert_allclose(p.probability, probability, atol=1e-5)
        assert p.presence_probability == pytest.approx(presence, abs=1e-5)


@pytest.mark.parametrize("memory", [None, 0])
def test_all_folds_at_once_give_what_each_gives_alone(
    memory: int | None,
    runs: list[EnsembledRun],
    reader: ShardReader,
    world: World,
    rows: Rows,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """To the bit, also where the networks do not fit on the device."""
    alone = [predict(NetworkMean(runs, reader=reader, world=world, workers=1), rows, fold) for fold in (0, 1, None)]
    if memory is not None:
        monkeypatch.setattr(fold_networks, "memory_limit", lambda *_: memory)
    mean = NetworkMean(runs, reader=reader, world=world, workers=1)
    assert mean.networks.resident == (memory is None)
    found: list[list[Predicted]] = [[], [], []]
    for of_batch in mean.predict_folds(split_batches(rows)):
        for predicted, batch in zip(found, of_batch, strict=True):
            assert bool(batch.finite)
            predicted += [
                Predicted(row, batch.probability(i).numpy(), float(batch.presence[i]))
                for i, row in enumerate(batch.rows)
            ]
    assert all(same(predicted, of_fold) for predicted, of_fold in zip(found, alone, strict=True))
    assert not same(found[0], found[1])


def test_without_a_presence_head_there_is_no_presence_probability(
    runs: list[EnsembledRun], reader: ShardReader, world: World, rows: Rows
) -> None:
    headless = replace(runs[1], weight=1.0)
    assert not headless.config.model.presence_head
    predicted = predict(NetworkMean([headless], reader=reader, world=world, workers=1), rows)
    assert all(math.isnan(p.presence_probability) for p in predicted)


def test_blocks_and_the_cache_do_not_change_a_bit(
    runs: list[EnsembledRun], reader: ShardReader, world: World, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = predict(NetworkMean(runs, reader=reader, world=world, workers=1), rows)
    monkeypatch.setattr(network_mean, "BLOCK", 1)
    monkeypatch.setattr(fold_networks, "memory_limit", lambda *_: 0)
    assert same(predict(NetworkMean(runs, reader=reader, world=world, workers=1), rows), whole)


def test_weights_are_read_once_where_memory_allows_it(
    runs: list[EnsembledRun], reader: ShardReader, world: World, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(network_mean, "BLOCK", 2)
    mean = NetworkMean(runs, reader=reader, world=world, workers=1)
    read: list[Path] = []

    class Counting(WeightCache):
        def read(self, weights):
            if weights not in self._kept:
                read.append(weights.path)
            return super().read(weights)

    paths = [weights.path for run in runs for weights in run.weights]
    assert mean.networks.resident
    for limit, blocks_that_read in ((1 << 40, 1), (0, 3)):
        read.clear()
        mean.networks.resident, mean.networks.cache = False, Counting(limit)
        predict(mean, rows)
        assert sorted(read) == sorted(paths * blocks_that_read)


@pytest.mark.parametrize(
    ("sizes", "length"), [((32,), 8), ((1024,), 8), ((1024, 1024), 4), ((2048,), 2), ((4096,), 1), ((4096, 4096), 1)]
)
def test_a_blocks_maps_take_at_most_256_mib_or_one_batch(
    runs: list[EnsembledRun], reader: ShardReader, world: World, sizes: tuple[int, ...], length: int
) -> None:
    mean = NetworkMean(runs, reader=reader, world=world, workers=1)
    mean.networks.resident = False
    mean.runs = [replace(runs[0], config=replace(CONFIGS[0], size=size)) for size in sizes]
    batches = split_batches(np.arange(8 * 20))
    blocks = list(mean.blocks(batches))
    assert [len(block) for block in blocks[:-1]] == [length] * (len(blocks) - 1)
    assert [row for block in blocks for batch in block for row in batch.tolist()] == list(range(160))
    assert length == 1 or 4 * 8 * length * sum(size**2 for size in sizes) <= 256 << 20


def test_each_fold_has_a_network_that_is_loaded_once_where_memory_allows_it(
    runs: list[EnsembledRun], reader: ShardReader, world: World, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    mean = NetworkMean(runs, reader=reader, world=world, workers=1)
    assert mean.networks.resident
    loaded: list[Path] = []
    real = TrainedWeights.load

    def load(weights: TrainedWeights, *arguments: Any) -> None:
        loaded.append(weights.path)
        real(weights, *arguments)

    monkeypatch.setattr(TrainedWeights, "load", load)
    for _ in range(2):
        predict(mean, rows)
    assert sorted(loaded) == sorted(weights.path for run in runs for weights in run.weights)
    assert [len(block) for block in mean.blocks(split_batches(rows))] == [1] * len(split_batches(rows))


def live_bytes() -> int:
    """Return the bytes of all tensors that no optimizer changes."""
    gc.collect()
    # Of its own classes, FakeTensor among them, torch keeps some for later.
    alive = [o for o in gc.get_objects() if type(o) in (torch.Tensor, torch.nn.Parameter) and not o.requires_grad]
    return sum({o.untyped_storage().data_ptr(): o.untyped_storage().nbytes() for o in alive}.values())


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_images(
    runs: list[EnsembledRun], reader: ShardReader, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bytes of live tensors whenever a batch is handed over, and of one image at the size of its source."""
    monkeypatch.setattr(prediction_module, "BATCH_SIZE", 1)
    table, most = reader.table, {}
    mean = NetworkMean(runs, reader=reader, world=world, workers=1)
    for number in (8, len(table)):
        most[number] = 0
        for counted in count_pixels(mean.predict(split_batches(np.arange(number))), world.device):
            most[number] = max(most[number], live_bytes())
            assert counted.counts.sum() == np.prod(table.shape(counted.batch.rows[0]))
    small, large = most.values()
    assert len(table) >= 4 * 8
    assert large <= small + (64 << 10)
