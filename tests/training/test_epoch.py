"""An epoch's number, order, micro-batches and learning rates."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pneumo.dataset.table import SampleTable
from pneumo.training.epoch import Epoch
from pneumo.training.pseudo_label_config import PseudoLabelConfig
from pneumo.training.recipe import Recipe
from pneumo.training.schedule import Plateau

RECIPE = Recipe(
    epochs=(2, 3),
    image_size=(32, 64),
    positive_rate=(0.5,),
    learning_rate=(1e-3, 1e-4),
    batch_size=4,
    micro_batch_size=2,
    warmup_epochs=0.0,
    validate_every=2,
)


def epoch(dataset: Path, stage: int, index: int, recipe: Recipe = RECIPE) -> Epoch:
    table = SampleTable.read(dataset)
    rows = table.select("train", {1})
    return Epoch(recipe=recipe, stage=recipe.stages[stage], index=index, seed=5, table=table, rows=rows)


def test_epochs_are_numbered_over_all_stages(dataset: Path) -> None:
    epochs = [epoch(dataset, *place) for place in [(0, 0), (0, 1), (1, 0), (1, 1), (1, 2)]]
    assert [e.number for e in epochs] == [0, 1, 2, 3, 4]
    assert [e.is_last for e in epochs] == [False, True, False, False, True]
    assert [e.is_validated for e in epochs] == [False, True, False, True, True]


def test_every_third_epoch_and_the_last_are_validated(dataset: Path) -> None:
    recipe = replace(RECIPE, epochs=(7,), image_size=(32,), learning_rate=(1e-3,), validate_every=3)
    validated = [index for index in range(7) if epoch(dataset, 0, index, recipe).is_validated]
    assert validated == [2, 5, 6]


def test_the_last_epochs_of_each_stage_are_averaged(dataset: Path) -> None:
    places = [(0, 0), (0, 1), (1, 0), (1, 1), (1, 2)]
    recipe = replace(RECIPE, swa_epochs=2)
    assert [epoch(dataset, *place, recipe).is_averaged for place in places] == [True, True, False, True, True]
    assert not any(epoch(dataset, *place).is_averaged for place in places)


def test_on_a_plateau_the_rate_follows_the_scores_after_the_warm_up(dataset: Path) -> None:
    recipe = replace(RECIPE, schedule=("cosine", "plateau"), plateau=Plateau(patience=0), warmup_epochs=1.0)
    second = replace(epoch(dataset, 1, 1, recipe), scores=(0.8, 0.7))
    assert second.learning_rate(0) == second.learning_rate(second.steps - 1) == pytest.approx(1e-5)
    assert epoch(dataset, 1, 1, recipe).learning_rate(0) == 1e-4
    warming = epoch(dataset, 1, 0, recipe)
    assert warming.learning_rate(0) == pytest.approx(1e-4 * 0.5 / warming.steps)


def test_a_cosine_that_is_shorter_than_its_stage_rises_again(dataset: Path) -> None:
    recipe = replace(RECIPE, epochs=(5,), image_size=(32,), learning_rate=(1e-3,), cosine_epochs=2)
    rates = [epoch(dataset, 0, index, recipe).learning_rate(0) for index in range(5)]
    assert rates == pytest.approx([1e-3, 5.05e-4, 1e-5, 5.05e-4, 1e-3])


def test_epochs_have_different_orders_of_the_same_rate(dataset: Path) -> None:
    first, second = epoch(dataset, 0, 0), epoch(dataset, 0, 1)
    assert not np.array_equal(first.order, second.order)
    for one in (first, second):
        assert one.table.positive[one.rows[one.order]].mean() == pytest.approx(0.5)
        assert one.steps == len(one.order) // 4


def test_the_ranks_plans_are_the_order_divided_into_micro_batches(dataset: Path) -> None:
    whole = epoch(dataset, 1, 1)
    ranks = [list(whole.plans(range(whole.steps), range(rank, 2, 2))) for rank in (0, 1)]
    in_turn = [plan for step in zip(*ranks, strict=True) for plan in step]
    assert np.array_equal(np.concatenate([plan.rows for plan in in_turn]), whole.rows[whole.order[: 4 * whole.steps]])
    assert np.array_equal(np.concatenate([plan.positions for plan in in_turn]), np.arange(4 * whole.steps))
    assert {(plan.epoch, plan.size, plan.seed) for plan in in_turn} == {(3, 64, 5)}


def test_pseudo_labeled_images_are_a_share_of_each_epoch(dataset: Path) -> None:
    recipe = replace(RECIPE, positive_rate=(), pseudo_labels=PseudoLabelConfig(share=0.25))
    alone = epoch(dataset, 0, 0, recipe)
    others = alone.table.select("train", {0})
    epochs = [replace(epoch(dataset, 0, index, recipe), pseudo_rows=others) for index in (0, 1)]
    taken = []
    for one in epochs:
        rows = np.concatenate([plan.rows for plan in one.plans(range(one.steps), range(2))])
        assert len(one.order) == len(alone.order) + round(len(alone.order) / 3)
        assert len(set(rows.tolist())) == len(rows) == 4 * one.steps
        taken.append(set(rows.tolist()) & set(others.tolist()))
    assert taken[0] != taken[1]


def test_plans_from_a_later_step_are_the_rest(dataset: Path) -> None:
    whole = epoch(dataset, 0, 1)
    plans, rest = (list(whole.plans(range(first, whole.steps), range(2))) for first in (0, 1))
    assert [p.positions.tolist() for p in rest] == [p.positions.tolist() for p in plans[2:]]
    assert [p.rows.tolist() for p in rest] == [p.rows.tolist() for p in plans[2:]]
    assert list(whole.plans(range(0), range(2))) == []


def test_the_learning_rate_falls_over_the_steps_of_a_stage(dataset: Path) -> None:
    rates = [e.learning_rate(step) for e in (epoch(dataset, 1, k) for k in range(3)) for step in range(e.steps)]
    assert rates == sorted(rates, reverse=True)
    assert 1e-4 > rates[0] > 0.9e-4
    assert rates[-1] < 0.1e-4


def test_the_learning_rate_of_a_step_is_that_of_its_middle(dataset: Path) -> None:
    recipe = replace(RECIPE, final_lr_factor=0.25)
    for index in range(3):
        one = epoch(dataset, 1, index, recipe)
        for step in range(one.steps):
            progress = (index + (2 * step + 1) / (2 * one.steps)) / 3
            expected = 1e-4 * (0.25 + 0.75 * (1 + math.cos(math.pi * progress)) / 2)
            assert one.learning_rate(step) == pytest.approx(expected, rel=1e-9)
