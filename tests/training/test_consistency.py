"""The mean teacher: its loss against a plain loop, its step against plain PyTorch, its images, and what resumes."""

import copy
import math
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from trained_folds import fp16, history
from training_runs import AfterSteps, make_trainer, shrunk, train_fold
from unlabeled_data import UNLABELED, build_dataset

from pneumo.dataset.shard_reader import ShardReader
from pneumo.dataset.table import SampleTable
from pneumo.distributed.world import World
from pneumo.loading.contract import Batch
from pneumo.modeling.losses.loss import SUMS, loss
from pneumo.modeling.segmenter import SegmenterOutput
from pneumo.runtime.errors import StopRequested
from pneumo.training import optimizer, train_state
from pneumo.training.consistency import Target, consistency_loss, ramp_up, teach
from pneumo.training.consistency_config import ConsistencyConfig
from pneumo.training.epoch import Epoch
from pneumo.training.fold_data import FoldData
from pneumo.training.recipe import Recipe
from pneumo.training.run_directory import FoldDirectory
from pneumo.training.train_state import TrainState

CONFIG = ConsistencyConfig(images=4, weight=10.0, presence_weight=0.5, ramp_up_epochs=2.0)
OFF = shrunk("debug")
# Each labeled image once in an epoch, which has several steps then.
FIFTH = replace(shrunk("fifth"), epochs=(2,), consistency=CONFIG, positive_rate=(), final_positive_rate=())
RECIPE = replace(OFF, consistency=CONFIG)
RATE, RAMP = 1e-2, 0.25


# -- the loss --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("epochs_done", "expected"),
    [(0.0, math.exp(-5)), (1.0, math.exp(-1.25)), (1.5, math.exp(-0.3125)), (2.0, 1.0), (7, 1)],
)
def test_the_weight_rises_along_a_gaussian_and_stays(epochs_done: float, expected: float) -> None:
    assert ramp_up(epochs_done, 2.0) == pytest.approx(expected, rel=1e-12)
    assert ramp_up(epochs_done, 0.0) == 1.0


def sigmoid(logit: float) -> float:
    return 1 / (1 + math.exp(-logit))


def test_the_loss_is_the_weighted_mean_squared_error_of_probabilities() -> None:
    generator = torch.Generator().manual_seed(0)
    logits, pixels = (torch.randn(2, 1, 3, 4, generator=generator) for _ in range(2))
    presence, taught = torch.tensor([0.3, -2.0]), torch.tensor([0.9, 0.2])
    losses = consistency_loss(SegmenterOutput(logits, presence), Target(pixels.sigmoid(), taught), CONFIG)
    alone = consistency_loss(SegmenterOutput(logits, None), Target(pixels.sigmoid(), None), CONFIG)
    for image in range(2):
        squares = [
            (sigmoid(float(ours)) - sigmoid(float(theirs))) ** 2
            for ours, theirs in zip(logits[image].flatten(), pixels[image].flatten(), strict=True)
        ]
        mask = 10.0 * sum(squares) / len(squares)
        assert float(alone[image]) == pytest.approx(mask, rel=1e-5)
        expected = mask + 0.5 * (sigmoid(float(presence[image])) - float(taught[image])) ** 2
        assert float(losses[image]) == pytest.approx(expected, rel=1e-5)


class Sided(nn.Module):
    """Says of each pixel what is there plus its column, and of an image the value of its first pixel."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, image: torch.Tensor) -> SegmenterOutput:
        return SegmenterOutput(self.scale * image + torch.arange(4.0), image[:, 0, 0, 0])


def test_the_teacher_sees_the_mirror_image_and_has_no_gradient() -> None:
    image = torch.arange(8.0).reshape(1, 1, 2, 4)
    target = teach(Sided(), image, nullcontext)
    # Column c of the image is column 3 - c of the mirror image.
    expected = [[sigmoid(float(image[0, 0, row, column]) + 3 - column) for column in range(4)] for row in range(2)]
    torch.testing.assert_close(target.pixels[0, 0], torch.tensor(expected))
    assert target.presence is not None
    assert float(target.presence) == pytest.approx(sigmoid(3.0))
    assert not target.pixels.requires_grad


# -- a step --------------------------------------------------------------------------------


def micro_batch(index: int) -> Batch:
    image = torch.rand(2, 1, 32, 32, generator=torch.Generator().manual_seed(index))
    return Batch(image=image, mask=(image > 0.95).float(), rows=np.arange(2))


LABELED, OTHERS = ([micro_batch(index) for index in indices] for indices in (range(2), range(10, 13)))
STEP = replace(RECIPE, consistency=replace(CONFIG, images=6))
"""Two micro-batches with labels, three without."""


def statistics(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: buffer for name, buffer in model.named_buffers() if "running" in name or "tracked" in name}


def plain_step(state: TrainState) -> tuple[dict[str, torch.Tensor], float]:
    """Return the parameters after a step of plain PyTorch from the state's, and the sum of the consistency losses."""
    model, teacher = copy.deepcopy(state.model), copy.deepcopy(state.ema.model)
    plain, total = optimizer.build(model, RECIPE), 0.0
    optimizer.set_learning_rate(plain, RATE)
    for batch in OTHERS:
        output, mirrored = model(batch.image), teacher(batch.image.flip(-1))
        squares = (output.logits.sigmoid() - mirrored.logits.flip(-1).sigmoid().detach()) ** 2
        of_presence = (output.presence_logit.sigmoid() - mirrored.presence_logit.sigmoid().detach()) ** 2
        losses = 10.0 * squares.mean(dim=(1, 2, 3)) + 0.5 * of_presence
        (RAMP * losses.sum() / 6).backward()
        total += float(losses.detach().sum())
    for batch in LABELED:
        (loss(model(batch.image), batch.mask, RECIPE.loss).total.sum() / RECIPE.batch_size).backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), RECIPE.clip_norm)
    plain.step()
    return dict(model.named_parameters()), total


@pytest.fixture
def state(world: World) -> TrainState:
    state = TrainState(STEP, 7, world, world)
    with torch.no_grad():
        # A teacher that does not agree.
        for parameter in state.ema.model.parameters():
            parameter.mul_(1.2)
    return state


def test_a_step_is_that_of_plain_pytorch(state: TrainState) -> None:
    expected, total = plain_step(state)
    result = state.step(LABELED, 0, RATE, OTHERS, RAMP)
    assert len(result.loss_sums) == len(SUMS) + 1
    assert float(result.loss_sums[-1]) == pytest.approx(total, rel=1e-5)
    assert total > 1e-3
    for name, parameter in state.model.named_parameters():
        torch.testing.assert_close(parameter, expected[name], rtol=1e-3, atol=1e-5, msg=name)


def test_the_teacher_is_the_moving_average_also_where_weights_are_averaged_evenly(
    state: TrainState, world: World
) -> None:
    swa = TrainState(replace(STEP, swa_epochs=1), 7, world, world)
    swa.add_to_swa()
    assert swa.averaged is not swa.ema.model
    swa.ema.model.load_state_dict(copy.deepcopy(state.ema.model.state_dict()))
    results = [one.step(LABELED, 0, RATE, OTHERS, RAMP) for one in (state, swa)]
    assert torch.equal(results[0].loss_sums, results[1].loss_sums)


def test_unlabeled_images_change_the_weights_and_no_statistics(state: TrainState, world: World) -> None:
    alone = TrainState(OFF, 7, world, world)
    alone.step(LABELED, 0, RATE)
    teacher = copy.deepcopy(state.ema.model.state_dict())
    teach(state.ema.model, OTHERS[0].image, state.autocast)
    assert all(torch.equal(value, teacher[name]) for name, value in state.ema.model.state_dict().items())
    state.step(LABELED, 0, RATE, OTHERS, RAMP)
    moved = statistics(alone.model)
    assert all(torch.equal(value, moved[name]) for name, value in statistics(state.model).items())
    ours, theirs = (torch.cat([p.detach().flatten() for p in s.model.parameters()]) for s in (state, alone))
    assert float((ours - theirs).abs().max()) > 0.1 * RATE


def test_a_scaled_loss_gives_the_same_step(state: TrainState, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    fp16(monkeypatch, init_scale=2.0**10)
    scaled = TrainState(STEP, 7, world, world)
    assert scaled.scaling.scaler.is_enabled()
    scaled.ema.model.load_state_dict(copy.deepcopy(state.ema.model.state_dict()))
    results = [one.step(LABELED, 0, RATE, OTHERS, RAMP) for one in (state, scaled)]
    assert torch.equal(results[0].gradient_norm, results[1].gradient_norm)
    assert all(map(torch.equal, state.model.parameters(), scaled.model.parameters()))
    # What overflows there is no step, also of these images alone.
    infinite = [replace(batch, image=batch.image * torch.inf) for batch in OTHERS]
    before = copy.deepcopy(scaled.model.state_dict())
    assert scaled.step(LABELED, 1, RATE, infinite, RAMP).skipped
    assert all(torch.equal(value, before[name]) for name, value in scaled.model.state_dict().items())


def test_dropout_of_an_unlabeled_micro_batch_is_a_function_of_its_place(
    state: TrainState, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeds: list[tuple[int, ...]] = []
    monkeypatch.setattr(train_state, "seed_step", lambda *counters: seeds.append(counters))
    state.step(LABELED, 8, RATE, OTHERS, RAMP)
    assert sorted(seeds) == [(7, 8, index) for index in range(5)]


def test_ranks_divide_labeled_and_unlabeled_micro_batches_evenly(state: TrainState, world: World) -> None:
    state.recipe = replace(STEP, batch_size=10)
    shares = []
    for rank in range(3):
        state.group = replace(world, rank=rank, size=3)
        shares.append((list(state.micro_batch_indices), list(state.unlabeled_indices)))
    assert shares == [([0, 3], [1]), ([1, 4], [2]), ([2], [0])]


# -- which images --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def unlabeled(synthetic: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_dataset(synthetic, tmp_path_factory.mktemp("dataset"))


def epoch(dataset: Path, recipe: Recipe, fold: int = 0, index: int = 0) -> Epoch:
    table = SampleTable.read(dataset)
    data = FoldData.of(ShardReader(dataset, table), fold, 2)
    stage = recipe.stages[0]
    return Epoch(
        recipe=recipe,
        stage=stage,
        index=index,
        seed=5,
        table=table,
        rows=data.train_rows,
        unlabeled_rows=data.unlabeled_rows,
    )


def values(plans: Any) -> list[Any]:
    return [
        (p.rows.tolist(), p.positions.tolist(), p.epoch, p.size, p.seed, p.augmentation, p.with_masks) for p in plans
    ]


def test_a_fold_never_sees_an_unlabeled_image_of_its_own_patients(unlabeled: Path) -> None:
    table = SampleTable.read(unlabeled)
    train = table.select("train")
    images = table.select("unlabeled").tolist()
    (leak,) = [row for row in images if table.patient[row] in table.patient[train]]
    own = int(table.fold[train][table.patient[train] == table.patient[leak]][0])
    # Each image comes several times.
    many = replace(RECIPE, consistency=replace(CONFIG, images=40))
    for fold in (0, 1):
        one = epoch(unlabeled, many, fold)
        seen = {row for plan in one.plans(range(one.steps), range(0), range(20)) for row in plan.rows.tolist()}
        assert seen == set(images) - ({leak} if fold == own else set())
        assert len(images) == UNLABELED


def test_the_labeled_images_are_the_same_with_and_without_unlabeled_ones(unlabeled: Path) -> None:
    off, on = epoch(unlabeled, OFF), epoch(unlabeled, RECIPE)
    steps = range(on.steps)
    assert off.steps == on.steps > 1
    mixed = list(on.plans(steps, range(2), range(2)))
    assert (
        values(off.plans(steps, range(2)))
        == values(p for p in mixed if p.with_masks)
        == values(on.plans(steps, range(2)))
    )
    assert [p.with_masks for p in mixed] == [True, True, False, False] * on.steps


def test_unlabeled_images_are_a_function_of_the_step_for_any_ranks_and_any_start(unlabeled: Path) -> None:
    one, steps = epoch(unlabeled, RECIPE), range(epoch(unlabeled, RECIPE).steps)
    whole = values(one.plans(steps, range(0), range(2)))
    assert values(one.plans(range(1, len(steps)), range(0), range(2))) == whole[2:]
    ranks = [values(one.plans(steps, range(0), range(rank, 2, 2))) for rank in range(2)]
    assert [plan for step in zip(*ranks, strict=True) for plan in step] == whole
    positions = [position for _, found, *_ in whole for position in found]
    assert len(set(positions)) == len(positions) == 4 * len(steps)
    assert min(positions) > len(one.order), "an augmentation of their own"
    assert values(epoch(unlabeled, RECIPE, index=1).plans(steps, range(0), range(2))) != whole


def test_the_ramp_up_counts_the_epochs_of_all_stages(unlabeled: Path) -> None:
    recipe = replace(RECIPE, epochs=(2, 3))
    second = replace(epoch(unlabeled, recipe, index=1), stage=recipe.stages[1])
    assert second.epochs_done(0) == pytest.approx(3 + 0.5 / second.steps)


# -- a fold --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def recorded(
    unlabeled: Path, world: World, tmp_path_factory: pytest.TempPathFactory
) -> tuple[FoldDirectory, list[float]]:
    """A trained fold, and the sum of the consistency losses of each of its steps."""
    sums, step = [], TrainState.step

    def recording(self: TrainState, *args: Any) -> train_state.StepResult:
        result = step(self, *args)
        sums.append(float(result.loss_sums[-1]))
        return result

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TrainState, "step", recording)
        return train_fold(tmp_path_factory.mktemp("whole") / "run", unlabeled, world, FIFTH), sums


@pytest.fixture(scope="module")
def whole(recorded: tuple[FoldDirectory, list[float]]) -> FoldDirectory:
    return recorded[0]


def test_a_fold_that_is_stopped_in_an_epoch_resumes_to_the_same_weights(
    unlabeled: Path, whole: FoldDirectory, world: World, tmp_path: Path
) -> None:
    run, steps = tmp_path / "run", epoch(unlabeled, FIFTH).steps
    assert steps > 1
    for after in (1, steps):
        with pytest.raises(StopRequested):
            train_fold(run, unlabeled, world, FIFTH, AfterSteps(after))
    pieces = train_fold(run, unlabeled, world, FIFTH)
    assert pieces.model.read_bytes() == whole.model.read_bytes()
    assert repr(history(pieces)) == repr(history(whole))


def test_the_history_has_the_mean_consistency_loss_of_an_unlabeled_image(
    recorded: tuple[FoldDirectory, list[float]],
) -> None:
    fold, sums = recorded
    by_epoch = np.reshape(sums, (2, -1)).mean(axis=1) / CONFIG.images
    assert by_epoch.min() > 0
    assert [entry["train/consistency"] for entry in history(fold)] == pytest.approx(by_epoch.tolist(), rel=1e-6)


def test_a_run_without_unlabeled_images_has_no_consistency_loss(
    unlabeled: Path, whole: FoldDirectory, world: World, tmp_path: Path
) -> None:
    off = train_fold(tmp_path / "run", unlabeled, world, replace(FIFTH, consistency=ConsistencyConfig()))
    assert not any("train/consistency" in entry for entry in history(off))
    assert off.model.read_bytes() != whole.model.read_bytes()


def test_the_loop_trains_on_the_images_that_the_fold_may_use_and_raises_their_weight(
    unlabeled: Path, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    factors, real = [], TrainState.step

    def step(self: TrainState, *arguments: Any) -> Any:
        factors.append(arguments[4])
        return real(self, *arguments)

    monkeypatch.setattr(TrainState, "step", step)
    trainer = make_trainer(tmp_path / "run", unlabeled, world, FIFTH)
    trainer.run()
    # Two epochs, which are all of the ramp-up.
    done = [(index + 0.5) / len(factors) for index in range(len(factors))]
    assert factors == pytest.approx([math.exp(-5 * (1 - part) ** 2) for part in done])
    ours = trainer._epoch(RECIPE.stages[0], 0)
    assert ours.unlabeled_rows.tolist() == epoch(unlabeled, RECIPE).unlabeled_rows.tolist() != []
