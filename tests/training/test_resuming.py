"""A fold that was stopped or killed resumes to the same weights, from checkpoints that are its own."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from trained_folds import STEPS, Train, fp16, history, newest, stopped
from training_runs import TWO_EPOCHS, AfterSteps, During, make_trainer, shrunk
from waiting import LONG_S

from pneumo.distributed.stopping import StopFlag
from pneumo.distributed.world import World
from pneumo.modeling import models
from pneumo.modeling.losses.registry import LossConfig
from pneumo.runtime.errors import StopRequested, UserError
from pneumo.runtime.files import sha256
from pneumo.training import checkpoint, run_directory
from pneumo.training.checkpoint_writer import CheckpointWriter
from pneumo.training.loop_state import Cursor
from pneumo.training.run_directory import FoldDirectory
from pneumo.training.save_clock import SaveClock
from pneumo.training.schedule import Plateau
from pneumo.training.step_sums import NAMES
from pneumo.training.train_state import TrainState


@pytest.mark.parametrize("steps", [STEPS - 1, STEPS, STEPS + 1])
def test_a_run_stopped_around_an_epoch_s_end_resumes_to_the_same_weights(
    train: Train, whole: FoldDirectory, tmp_path: Path, steps: int
) -> None:
    with pytest.raises(StopRequested, match=f"^fold 0 at step {steps}; rank 0 received SIGTERM$"):
        train("pieces", TWO_EPOCHS, AfterSteps(steps))
    path = newest(run_directory.load(tmp_path / "pieces").fold(0))
    assert path.name == f"step-{steps:08d}-epoch-{int(steps > STEPS):04d}"
    cursor = checkpoint.load(path).state.cursor
    assert cursor == Cursor(epoch=steps // (STEPS + 1), step=(steps - 1) % STEPS + 1)
    pieces = train("pieces", TWO_EPOCHS)
    assert pieces.model.read_bytes() == whole.model.read_bytes()
    assert repr(history(pieces)) == repr(history(whole))


def test_training_that_is_killed_within_a_write_resumes_to_the_same_weights(
    train: Train, whole: FoldDirectory, dataset: Path, tmp_path: Path
) -> None:
    """Three times, at three places of the writer, in the order of the steps."""
    run = tmp_path / "run"
    program = Path(__file__).with_name("killed_writers.py")
    done = subprocess.run(
        [sys.executable, program, str(dataset), str(run)], capture_output=True, text=True, timeout=LONG_S, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        # While its second file was written: what there is of it is not a checkpoint.
        "writing: killed, resumes from 1, torn 1",
        "renaming: killed, resumes from 3, torn 1",
        # The one at which it was killed is complete.
        "pruning: killed, resumes from 6, torn 0",
    ]
    pieces = train("run", TWO_EPOCHS)
    assert pieces.model.read_bytes() == whole.model.read_bytes()
    assert repr(history(pieces)) == repr(history(whole))


@pytest.mark.parametrize(
    ("stop", "name"),
    [
        (During("validating", 1), "step-00000004-epoch-0000"),  # in the estimation of the statistics
        (During("validating", 2 * STEPS + 2), "step-00000004-epoch-0000"),  # before the last batch of the validation
        (During("predicting its images", 2), "step-00000008-epoch-0002"),
    ],
    ids=["statistics", "validation", "prediction"],
)
def test_a_stop_is_seen_between_the_batches_of_a_validation_and_costs_no_step(
    train: Train, whole: FoldDirectory, tmp_path: Path, stop: StopFlag, name: str
) -> None:
    with pytest.raises(StopRequested, match=f"^fold 0 at step {int(name[5:13])}; rank 0 received SIGTERM$"):
        train("pieces", TWO_EPOCHS, stop)
    directory = run_directory.load(tmp_path / "pieces").fold(0)
    assert newest(directory).name == name
    assert not directory.model.exists()
    pieces = train("pieces", TWO_EPOCHS)
    assert pieces.model.read_bytes() == whole.model.read_bytes()
    assert repr(history(pieces)) == repr(history(whole))
    # An epoch of which only the validation was left has no speed.
    has_speed = ["images_per_s" in entry for entry in json.loads(pieces.summary.read_text())["history"]]
    assert has_speed == [not name.endswith("epoch-0000"), True]


def test_checkpoints_of_a_finished_fold_are_removed(whole: FoldDirectory) -> None:
    assert whole.is_finished
    assert not whole.checkpoints.exists()


def test_a_resumed_fold_does_not_fetch_its_encoder_s_weights_again(
    train: Train, whole: FoldDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The weights of imagenet are those that the seed gives, until the hub goes away."""
    recipe = replace(TWO_EPOCHS, model=replace(TWO_EPOCHS.model, encoder_weights="imagenet"))
    real = models.build
    monkeypatch.setattr(models, "build", lambda config: real(replace(config, encoder_weights="none")))
    with pytest.raises(StopRequested):
        train("run", recipe, AfterSteps(2))

    def build(config: models.ModelConfig) -> torch.nn.Module:
        assert config.encoder_weights == "none", "a download"
        return real(config)

    monkeypatch.setattr(models, "build", build)
    assert train("run", recipe).model.read_bytes() == whole.model.read_bytes()


def test_checkpoints_of_swapped_folds_are_refused(train: Train, tmp_path: Path) -> None:
    path = stopped(train, "run", TWO_EPOCHS, tmp_path)
    edit_state(path, lambda state: state.update(fold=1))
    with pytest.raises(UserError, match=r"cannot resume from .*: ValueError: it is of fold 1, not of fold 0"):
        train("run", TWO_EPOCHS)


def test_a_cursor_beyond_the_recipe_is_not_taken_for_a_finished_fold(train: Train, tmp_path: Path) -> None:
    path = stopped(train, "run", TWO_EPOCHS, tmp_path)
    edit_state(path, lambda state: state.update(cursor={"stage": 3, "epoch": 0, "step": 0}))
    with pytest.raises(UserError, match=r"cannot resume from .*: ValueError: stage 3, epoch 0 is beyond the recipe"):
        train("run", TWO_EPOCHS)


def test_checkpoints_within_an_epoch_come_at_their_interval(
    dataset: Path, tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step takes a minute of the clock; an epoch has four, and its end saves, too."""
    saved = watch_saves(monkeypatch)
    trainer = make_trainer(tmp_path / "run", dataset, world, replace(shrunk("debug"), epochs=(3,)))
    trainer.saving.clock = SaveClock(2.5, lambda: 60.0 * trainer.state.step)
    trainer.run()
    within = [step for step in saved if step % STEPS]
    # Three minutes after the start, and then after the end of an epoch.
    assert within == [3, 7, 11]


def watch_saves(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that grows by the step of each checkpoint; each is written before training goes on."""
    saved: list[int] = []
    begin = CheckpointWriter.begin

    def begin_and_wait(writer: CheckpointWriter, snapshot: checkpoint.Snapshot) -> None:
        begin(writer, snapshot)
        writer.wait()
        saved.append(snapshot.state.step)

    monkeypatch.setattr(CheckpointWriter, "begin", begin_and_wait)
    return saved


def edit_sums(path: Path, change: Callable[[dict[str, float]], Any]) -> None:
    """Change the sums of the losses in a checkpoint, and its manifest with them."""
    edit_state(path, lambda state: change(state["step_sums"]))


def edit_state(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Change a checkpoint's state.json, and its manifest with it."""
    state = json.loads((path / "state.json").read_text())
    change(state)
    (path / "state.json").write_text(json.dumps(state))
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["state.json"] = [(path / "state.json").stat().st_size, sha256(path / "state.json")]
    (path / "manifest.json").write_text(json.dumps(manifest))
    assert checkpoint.verify(path) == ""


def test_a_checkpoint_from_before_a_loss_term_resumes(train: Train, whole: FoldDirectory, tmp_path: Path) -> None:
    path = stopped(train, "pieces", TWO_EPOCHS, tmp_path)
    assert list(checkpoint.load(path).state.step_sums) == list(NAMES)
    edit_sums(path, lambda sums: sums.pop("focal"))
    assert history(train("pieces", TWO_EPOCHS)) == history(whole)


def test_a_checkpoint_without_the_sum_of_the_total_loss_is_refused(train: Train, tmp_path: Path) -> None:
    recipe = shrunk("debug")
    edit_sums(stopped(train, "pieces", recipe, tmp_path), lambda sums: sums.clear())
    with pytest.raises(UserError, match=r"cannot resume from .*: ValueError: step_sums\.total is missing"):
        train("pieces", recipe)


def test_a_checkpoint_with_a_loss_term_that_is_unknown_is_refused(train: Train, tmp_path: Path) -> None:
    recipe = shrunk("debug")
    edit_sums(stopped(train, "pieces", recipe, tmp_path), lambda sums: sums.update(boundary=1.0))
    with pytest.raises(
        UserError, match=r"cannot resume from .*: ValueError: this version .* has no loss term 'boundary'"
    ):
        train("pieces", recipe)


def test_a_plateau_of_the_scores_lowers_the_rate_of_a_resumed_fold_too(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No score is twice the first one, so that the third epoch has a tenth of the rate."""
    rates: list[float] = []
    real = TrainState.step

    def step(state: TrainState, batches: Any, index: int, rate: float, *others: Any) -> Any:
        rates.append(rate)
        return real(state, batches, index, rate, *others)

    monkeypatch.setattr(TrainState, "step", step)
    schedule = Plateau(patience=0, threshold=1.0)
    recipe = replace(shrunk("debug"), epochs=(3,), schedule=("plateau",), plateau=schedule)
    whole, uninterrupted = train("whole", recipe), [*rates]
    rates.clear()
    with pytest.raises(StopRequested):
        train("pieces", recipe, AfterSteps(2 * STEPS + 1))
    pieces = train("pieces", recipe)
    assert rates == uninterrupted == pytest.approx([1e-3] * STEPS + [1e-3] * STEPS + [1e-4] * STEPS)
    assert pieces.model.read_bytes() == whole.model.read_bytes()


def test_crops_frozen_layers_waves_and_a_loss_of_micro_batches_resume_to_the_same_weights(
    train: Train, tmp_path: Path
) -> None:
    """The fields of a recipe that have no state beside the weights and the history."""
    recipe = replace(
        TWO_EPOCHS,
        image_size=(64,),
        crop_size=(32,),
        freeze_encoder_norm=True,
        cosine_epochs=1,
        loss=LossConfig(bce=0.0, dice=0.0, focal=10.0, log_dice=1.0),
    )
    whole = train("whole", recipe)
    for steps in (2, STEPS):
        with pytest.raises(StopRequested):
            train("pieces", recipe, AfterSteps(steps))
    pieces = train("pieces", recipe)
    assert pieces.model.read_bytes() == whole.model.read_bytes()
    assert repr(history(pieces)) == repr(history(whole))


def test_the_gradient_scaler_resumes(train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fp16(monkeypatch, init_scale=4.0, growth_interval=3)
    whole = train("whole", TWO_EPOCHS)
    with pytest.raises(StopRequested):
        train("pieces", TWO_EPOCHS, AfterSteps(5))
    pieces = run_directory.load(tmp_path / "pieces").fold(0)
    stopped = checkpoint.load(newest(pieces)).optimizer["scaler"]
    # In eight steps it grows twice; the stop, after five, is between the two.
    assert (stopped["scale"], stopped["_growth_tracker"]) == (8.0, 2)
    train("pieces", TWO_EPOCHS)
    assert pieces.model.read_bytes() == whole.model.read_bytes()
