"""The cost of a few real steps: positive, of each stage, and the bytes of a real checkpoint."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from training_runs import shrunk
from unlabeled_data import build_dataset

from pneumo.dataset.shard_reader import ShardReader
from pneumo.dataset.table import SampleTable
from pneumo.loading.contract import BatchPlan
from pneumo.synthetic.tree import SyntheticTree
from pneumo.training import step_cost
from pneumo.training.consistency_config import ConsistencyConfig
from pneumo.training.fold_data import FoldData
from pneumo.training.step_cost import PREDICTED_IMAGES, WARM_UP_STEPS, measure
from pneumo.training.train_state import StepResult, TrainState


def test_each_stage_has_its_cost_and_nothing_is_written(dataset: Path) -> None:
    before = sorted(dataset.rglob("*"))
    recipe = replace(shrunk("debug"), epochs=(1, 1), image_size=(32, 64), loader="opencv", precision="fp32")
    data = FoldData.of(ShardReader(dataset, SampleTable.read(dataset)), 0, 2)
    measured = measure(recipe, data, torch.device("cpu"), workers=1, micro_batches=2)
    assert len(measured.costs) == 2
    for cost in measured.costs:
        assert cost.micro_batch_s > 0
        assert cost.prediction_s > 0
        assert 0 <= cost.waiting <= 1
    assert measured.memory.process > 2**27, "torch alone takes more"
    assert measured.memory.device == 0
    assert sorted(dataset.rglob("*")) == before


def test_unlabeled_micro_batches_are_measured_with_the_others(
    synthetic: SyntheticTree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset, real, seen = build_dataset(synthetic, tmp_path), TrainState.step, []

    def step(self: TrainState, *arguments: Any) -> StepResult:
        seen.append((len(arguments[0]), len(arguments[3])))
        return real(self, *arguments)

    monkeypatch.setattr(TrainState, "step", step)
    recipe = replace(shrunk("debug"), loader="opencv", precision="fp32", consistency=ConsistencyConfig(images=64))
    data = FoldData.of(ShardReader(dataset, SampleTable.read(dataset)), 0, 2)
    (cost,) = measure(recipe, data, torch.device("cpu"), workers=1, micro_batches=1, unlabeled=2).costs
    assert set(seen) == {(1, 2)}
    assert cost.micro_batch_s > 0


@pytest.mark.parametrize(("micro_batches", "seconds", "waiting"), [(1, 2.5, 1.5 / 10.5), (2, 3.0 / 2, 3.0 / 12)])
def test_a_time_is_the_median_behind_the_first_step_of_one_micro_batch(
    dataset: Path, monkeypatch: pytest.MonkeyPatch, micro_batches: int, seconds: float, waiting: float
) -> None:
    """Of steps of 1, 2 and 6 s, each of which waits half a second for each micro-batch; the first one takes 100 s."""
    clock, durations = SimpleNamespace(now=0.0), iter([100.0] * WARM_UP_STEPS + [6.0, 1.0, 2.0])

    def pass_time(duration: float) -> None:
        clock.now += duration

    def load(plans: Iterator[BatchPlan]) -> Iterator[None]:
        for _ in plans:
            pass_time(0.5)
            yield

    monkeypatch.setattr(step_cost, "time", SimpleNamespace(monotonic=lambda: clock.now))
    monkeypatch.setattr(step_cost, "build_loader", lambda *_, **__: load)
    monkeypatch.setattr(step_cost, "predict_histograms", lambda *_: pass_time(8.0) or "histograms")
    monkeypatch.setattr(step_cost, "validation_metrics", lambda _: pass_time(100.0))
    monkeypatch.setattr(TrainState, "step", lambda *_: pass_time(next(durations)))
    recipe = replace(shrunk("debug"), loader="opencv", precision="fp32")
    data = FoldData.of(ShardReader(dataset, SampleTable.read(dataset)), 0, 2)
    assert len(data.validation_rows) >= PREDICTED_IMAGES
    measured = measure(recipe, data, torch.device("cpu"), workers=1, micro_batches=micro_batches)
    (cost,) = measured.costs
    assert (cost.micro_batch_s, cost.waiting) == pytest.approx((seconds, waiting))
    assert cost.prediction_s == pytest.approx(8.0 / PREDICTED_IMAGES)


def test_the_bytes_of_a_checkpoint_are_counted(dataset: Path) -> None:
    recipe = replace(shrunk("debug"), loader="opencv", precision="fp32")
    data = FoldData.of(ShardReader(dataset, SampleTable.read(dataset)), 0, 2)
    measured = measure(recipe, data, torch.device("cpu"), workers=1, micro_batches=1)
    from pneumo.modeling import models

    weights = sum(t.numel() * t.element_size() for t in models.build(recipe.model).state_dict().values())
    # The weights, their average, and two moments of most of them.
    assert 3.5 * weights < measured.checkpoint_bytes < 4.1 * weights
