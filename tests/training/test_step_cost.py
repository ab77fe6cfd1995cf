"""The cost of a few real steps: positive, of each stage, and the bytes of a real checkpoint."""

from dataclasses import replace
from pathlib import Path

import torch
from training_runs import shrunk

from pneumo.dataset.shard_reader import ShardReader
from pneumo.dataset.table import SampleTable
from pneumo.training.fold_data import FoldData
from pneumo.training.step_cost import measure


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


def test_the_bytes_of_a_checkpoint_are_counted(dataset: Path) -> None:
    recipe = replace(shrunk("debug"), loader="opencv", precision="fp32")
    data = FoldData.of(ShardReader(dataset, SampleTable.read(dataset)), 0, 2)
    measured = measure(recipe, data, torch.device("cpu"), workers=1, micro_batches=1)
    from pneumo.modeling import models

    weights = sum(t.numel() * t.element_size() for t in models.build(recipe.model).state_dict().values())
    # The weights, their average, and two moments of most of them.
    assert 3.5 * weights < measured.checkpoint_bytes < 4.1 * weights
