"""One optimizer step against plain PyTorch, the change of stages, and restoring."""

import copy
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shared_steps as shared_steps_script
import torch
from training_runs import shrunk
from waiting import LONG_S

from pneumo.distributed.world import World
from pneumo.loading.contract import Batch
from pneumo.modeling import models
from pneumo.modeling.losses.loss import SUMS, loss
from pneumo.runtime.errors import UserError
from pneumo.training import optimizer
from pneumo.training.checkpoint import Snapshot
from pneumo.training.loop_state import LoopState
from pneumo.training.train_state import TrainState, seed_step

RECIPE = shrunk("debug")
RATE = 1e-3


def micro_batch(index: int) -> Batch:
    generator = torch.Generator().manual_seed(index)
    image = torch.rand(2, 1, 32, 32, generator=generator)
    return Batch(image=image, mask=(image > 0.95).float(), rows=np.arange(2))


BATCHES = [micro_batch(index) for index in range(RECIPE.micro_batches)]


@pytest.fixture
def state(world: World) -> TrainState:
    return TrainState(RECIPE, 7, world, world)


def test_a_step_is_that_of_plain_pytorch_over_the_whole_batch(state: TrainState) -> None:
    torch.manual_seed(7)
    model = models.build(RECIPE.model).to(memory_format=torch.channels_last).train()
    plain = optimizer.build(model, RECIPE)
    optimizer.set_learning_rate(plain, RATE)
    totals = []
    for batch in BATCHES:
        total = loss(model(batch.image), batch.mask, RECIPE.loss).total
        (total.sum() / RECIPE.batch_size).backward()
        totals.append(total.sum().item())
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    norm = torch.nn.utils.get_total_norm(gradients)
    assert norm > RECIPE.clip_norm > 0
    # As clip_grad_norm_, which multiplies by the inverse, rounded.
    for gradient in gradients:
        gradient.div_((norm + 1e-6) / RECIPE.clip_norm)
    plain.step()
    result = state.step(BATCHES, 0, RATE)
    assert result.loss_sums[SUMS.index("total")].item() == pytest.approx(sum(totals), rel=1e-6)
    assert torch.equal(result.gradient_norm, norm)
    assert not result.skipped
    ours = dict(state.model.named_parameters())
    assert all(torch.equal(ours[name], parameter) for name, parameter in model.named_parameters())


def test_training_on_one_batch_lowers_its_loss(state: TrainState) -> None:
    total = [state.step(BATCHES, step, 1e-2).loss_sums[SUMS.index("total")].item() for step in range(15)]
    assert total[-1] < 0.5 * total[0]


def test_steps_of_equal_states_are_equal(world: World) -> None:
    states = [TrainState(RECIPE, 7, world, world) for _ in range(2)]
    for state in states:
        for step in range(2):
            state.step(BATCHES, step, RATE)
    first, second = (s.weights() for s in states)
    assert all(torch.equal(first[s][name], second[s][name]) for s in first for name in first[s])


def test_the_next_stage_starts_from_the_best_or_the_last_average(state: TrainState) -> None:
    state.step(BATCHES, 0, RATE)
    state.snapshot_best()
    best = copy.deepcopy(state.ema.model.state_dict())
    state.step(BATCHES, 1, RATE)
    last = copy.deepcopy(state.ema.model.state_dict())
    without_best = copy.copy(state)
    without_best.model, without_best.best = copy.deepcopy(state.model), None
    for current, expected in ((state, best), (without_best, last)):
        current.start_next_stage()
        assert all(torch.equal(value, expected[name]) for name, value in current.model.state_dict().items())
        assert (current.ema.updates, current.best) == (0, None)
        assert not current.optimizer.state


def snapshot(state: TrainState) -> Snapshot:
    return copy.deepcopy(Snapshot(LoopState(), state.weights(), state.optimizer_state()))


def test_a_restored_state_does_the_same_next_step(state: TrainState, world: World) -> None:
    state.step(BATCHES, 0, RATE)
    restored = TrainState(RECIPE, 8, world, world)
    restored.restore(snapshot(state))
    restored.seed = state.seed
    for current in (state, restored):
        current.step(BATCHES, 1, RATE)
    ours, theirs = state.weights(), restored.weights()
    assert all(torch.equal(ours[s][name], theirs[s][name]) for s in ours for name in ours[s])
    assert restored.ema.updates == 2


def first_moment(values: Any) -> dict[str, Any]:
    return values.optimizer["optimizer"]["state"][0]  # type: ignore[no-any-return]


DAMAGE: dict[str, Callable[[Snapshot], object]] = {
    "no model": lambda s: s.weights.pop("model"),
    "no average": lambda s: s.weights.pop("ema"),
    "a missing weight": lambda s: s.weights["model"].popitem(),
    "moments of another shape": lambda s: first_moment(s).update(exp_avg=torch.zeros(3, 3)),
    "no optimizer": lambda s: s.optimizer.pop("optimizer"),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_snapshot_of_another_recipe_is_refused(state: TrainState, damage: Callable[[Snapshot], object]) -> None:
    state.step(BATCHES, 0, RATE)
    other = snapshot(state)
    damage(other)
    with pytest.raises((KeyError, RuntimeError, ValueError)):
        state.restore(other)


def test_micro_batches_are_divided_among_the_ranks(world: World) -> None:
    recipe = replace(RECIPE, batch_size=10)
    ranks = [replace(world, rank=rank, size=3) for rank in range(3)]
    state = TrainState(recipe, 0, world, world)
    indices = []
    for rank in ranks:
        state.group = rank
        indices.append(list(state.micro_batch_indices))
    assert indices == [[0, 3], [1, 4], [2]]


@pytest.mark.parametrize("compiled", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_batch_normalization_of_one_value_names_the_flags(compiled: bool, world: World) -> None:
    recipe = replace(RECIPE, batch_size=1, micro_batch_size=1, precision="fp32", compile=compiled)
    state = TrainState(recipe, 0, world, world)
    one = replace(BATCHES[0], image=BATCHES[0].image[:1], mask=BATCHES[0].mask[:1])
    with pytest.raises(
        UserError, match=r"^--micro-batch-size 1 at 32 px gives .* one value; .*--micro-batch-size 2 or more"
    ):
        state.step([one], 0, RATE)


def test_dropout_is_a_function_of_its_counters() -> None:
    def draw(*counters: int) -> list[float]:
        seed_step(*counters)
        return torch.rand(4).tolist()

    assert draw(1, 2, 3) == draw(1, 2, 3)
    assert len({tuple(draw(*c)) for c in [(1, 2, 3), (1, 2, 4), (1, 3, 3), (2, 2, 3)]}) == 4


def test_the_seed_of_a_micro_batch_has_64_bits_and_is_that_of_every_version_of_this_one() -> None:
    seed_step(1, 2, 3)
    # numpy.random.SeedSequence([1, 2, 3]).generate_state(2), the first word above the second.
    assert torch.initial_seed() == 3822189696 * 2**32 + 3026158655


@pytest.fixture(scope="module")
def shared_steps(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[int, ...], Any]:
    """Gradients and state after the step of each (ranks, images at once, unlabeled micro-batches, rank)."""
    directory = tmp_path_factory.mktemp("steps")
    script = Path(shared_steps_script.__file__)
    path = os.pathsep.join([str(script.parent), *filter(None, sys.path)])
    environment = {**os.environ, "PYTHONPATH": path}
    command = [sys.executable, str(script), str(directory)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LONG_S, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    places = [(*case, rank) for case in shared_steps_script.CASES for rank in range(case[0])]
    return {place: torch.load(directory / f"{'-'.join(map(str, place))}.pt") for place in places}


@pytest.mark.parametrize(("size", "at_once", "unlabeled"), shared_steps_script.CASES[1:])
def test_ranks_with_uneven_micro_batches_do_the_step_of_one_rank_with_one_in_each_pass(
    shared_steps: dict[tuple[int, ...], Any], size: int, at_once: int, unlabeled: int
) -> None:
    """Equal gradients, weights and batch statistics within float32's rounding, by gradient descent without clipping."""
    alone = shared_steps[1, 2, unlabeled, 0]
    for rank in range(size):
        shared = shared_steps[size, at_once, unlabeled, rank]
        for part in ("gradients", "state"):
            assert shared[part].keys() == alone[part].keys()
            # Gradients of parameters before a normalization are differences of larger numbers, which set the scale.
            scale = max(float(value.abs().max()) for value in alone["gradients"].values())
            for name, value in alone[part].items():
                largest = max(float(value.abs().max()), scale if part == "gradients" else 1.0)
                torch.testing.assert_close(shared[part][name], value, rtol=1e-4, atol=1e-5 * largest, msg=name)
        for name, value in shared_steps[size, at_once, unlabeled, 0]["gradients"].items():
            assert torch.equal(shared["gradients"][name], value), f"{name} differs between the ranks"
    assert max(float(value.abs().max()) for value in alone["gradients"].values()) > 1e-3


def test_unlabeled_images_change_the_gradient_and_no_statistics(shared_steps: dict[tuple[int, ...], Any]) -> None:
    for rank in (0, 1):
        taught, alone = shared_steps[2, 2, 3, rank], shared_steps[2, 2, 0, rank]
        assert all(
            torch.equal(value, alone["state"][name]) for name, value in taught["state"].items() if "running" in name
        )
        differences = [float((g - alone["gradients"][name]).abs().max()) for name, g in taught["gradients"].items()]
        assert max(differences) > 1e-3


def test_a_network_with_dropout_has_a_pass_for_each_micro_batch(world: World) -> None:
    recipe = replace(RECIPE, model=replace(RECIPE.model, encoder="efficientnet-b0"))
    with pytest.raises(UserError, match=r"^--images-at-once 4 with efficientnet-b0: .*dropout.*leave out"):
        TrainState(recipe, 7, world, world, images_at_once=4)
    assert TrainState(recipe, 7, world, world, images_at_once=2).passes.most == 1
