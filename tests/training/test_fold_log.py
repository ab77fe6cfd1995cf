"""What a fold's events contain, each figure with a tag of its own, also when training is killed and resumed."""

import itertools
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from finished_runs import finish_folds
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from training_runs import AfterSteps, Never, shrunk, training

from pneumo.distributed.world import World
from pneumo.inference.evaluation import compute_metrics
from pneumo.runtime.errors import StopRequested
from pneumo.training import fold_log, loop, run_directory, run_metrics
from pneumo.training.cross_validation import train
from pneumo.training.fold_results import read_histograms, read_history
from pneumo.training.loop import FoldTrainer
from pneumo.training.loop_state import MEASURED
from pneumo.training.run_directory import RunDirectory

EPOCHS, STEPS = 2, 4
RECIPE = replace(shrunk("debug"), epochs=(EPOCHS,))
PICTURES = ["2_val_images/large", "2_val_images/medium", "2_val_images/small", "2_val_images/negative"]


def read(directory: Path) -> EventAccumulator:
    accumulator = EventAccumulator(str(directory), size_guidance={"tensors": 0, "images": 0, "scalars": 0})
    accumulator.Reload()
    return accumulator


class Killed(BaseException):
    """In place of SIGKILL."""


def kill(patch: pytest.MonkeyPatch, where: object, name: str, *, after: bool, call: int = 1) -> None:
    """Let the n-th call of a function end the process, before or after it has done its work."""
    real, calls = getattr(where, name), itertools.count(1)

    def killing(*arguments: Any) -> Any:
        is_last = next(calls) == call
        if is_last and not after:
            raise Killed
        result = real(*arguments)
        if is_last:
            raise Killed
        return result

    patch.setattr(where, name, killing)


KILLS: list[Callable[[pytest.MonkeyPatch], None]] = [
    # After the events of the second validation: a start with a validation left to do.
    lambda patch: kill(patch, FoldTrainer, "_log_epoch", after=True, call=EPOCHS),
    lambda patch: kill(patch, loop, "publish_fold", after=False),
    lambda patch: kill(patch, loop, "publish_fold", after=True),
    lambda patch: kill(patch, run_metrics.metrics, "write", after=False),
    lambda patch: kill(patch, run_metrics.metrics, "write", after=True),
]


@pytest.fixture(scope="module")
def killed(dataset: Path, world: World, tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """A run that was stopped in its first epoch, at a step that is logged, and then killed again and again."""
    path = tmp_path_factory.mktemp("runs") / "killed"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "LOG_EVERY", 3)
        with pytest.raises(StopRequested):
            train(training(RECIPE, dataset, path), world, AfterSteps(3))
        for prepare in KILLS:
            with pytest.MonkeyPatch.context() as inner, pytest.raises(Killed):
                prepare(inner)
                train(training(RECIPE, dataset, path), world, Never())
        train(training(RECIPE, dataset, path), world, Never())
    return run_directory.load(path)


def test_every_curve_has_each_point_once_although_the_epoch_was_killed(killed: RunDirectory) -> None:
    events = read(killed.fold(0).path)
    starts = len(list(killed.fold(0).path.glob("events.out.*")))
    assert starts == 4 + 2, "the stop and three kills before the fold was finished, and the metrics of the run twice"
    steps = {tag: [e.step for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}
    assert {tag for tag, at in steps.items() if at == [3, 6]} == {
        *("lr", "time/step_s", "time/images_per_s", "time/data_wait"),
        *(f"train/{name}" for name in ("total", "bce", "dice", "log_dice", "focal", "presence", "gradient_norm")),
    }
    assert {tag for tag, at in steps.items() if at == [STEPS, 2 * STEPS]} >= {
        *("1_val/dice_best_rule", "1_val/dice_all_empty", "1_val/auc", "time/validation_s", "memory/process_gib"),
        *("train_epoch/total", "train_epoch/gradient_norm", "train_epoch/epoch", "train_epoch/stage"),
    }
    assert {tag: at for tag, at in steps.items() if tag in ("final/dice_nested", "final/auc")} == {
        "final/auc": [2 * STEPS + 1],
        "final/dice_nested": [2 * STEPS + 2],
    }
    assert not [tag for tag, at in steps.items() if len(set(at)) < len(at)], "a doubled point"


def test_pictures_and_precision_recall_curves_come_once_for_each_validation(killed: RunDirectory) -> None:
    for fold in (0, 1):
        events = read(killed.fold(fold).path)
        assert sorted(events.Tags()["images"]) == sorted(PICTURES)
        for tag in PICTURES:
            images = events.Images(tag)
            assert [image.step for image in images] == [STEPS, 2 * STEPS]
            assert max(len(image.encoded_image_string) for image in images) < 64 << 10
    # Those of fold 0 are seen through tensorboard itself (tests/browser): this reader hides no tensors.
    for tag in ("presence/presence_head", "presence/max_pixel"):
        assert [event.step for event in events.Tensors(tag)] == [STEPS, 2 * STEPS]


def test_the_recipe_and_the_hyperparameters_come_once(killed: RunDirectory) -> None:
    events = read(killed.fold(0).path)
    (text,) = events.Tensors("recipe/text_summary")
    assert "| name | debug |" in text.tensor_proto.string_val[0].decode()
    assert set(events.PluginTagToContent("hparams")) == {
        f"_hparams_/{name}" for name in ("experiment", "session_start_info", "session_end_info")
    }


def test_the_first_group_is_that_of_the_validation(killed: RunDirectory) -> None:
    # TensorBoard's own order, of names like these: digits before letters.
    events = read(killed.fold(1).path)
    groups = {tag.partition("/")[0] for tag in events.Tags()["scalars"] + events.Tags()["images"]}
    assert sorted(groups) == [
        *("1_val", "2_val_images", "final", "lr", "memory", "time", "train", "train_epoch"),
    ]


def test_the_figures_of_an_epoch_are_those_of_the_history(killed: RunDirectory) -> None:
    events, history = read(killed.fold(1).path), read_history(killed.fold(1))
    for name, tag in (
        ("train/total", "train_epoch/total"),
        ("val/auc", "1_val/auc"),
        ("train_s", "train_epoch/train_s"),
    ):
        assert [event.value for event in events.Scalars(tag)] == pytest.approx([entry[name] for entry in history])


def test_what_is_measured_is_in_the_history(killed: RunDirectory) -> None:
    for fold in (0, 1):
        history = read_history(killed.fold(fold))
        assert len(history) == EPOCHS
        # Of the killed epoch only the validation was left.
        assert {"train_s", "images_per_s"}.isdisjoint(history[1]) == (fold == 0)
        first = history[0]
        # On a CPU there is no memory of a GPU.
        assert first.keys() & MEASURED == MEASURED - {"device_gib"}
        assert 0 <= first["data_wait"] <= 1
        steps = STEPS if fold else STEPS - 3
        assert first["images_per_s"] == pytest.approx(steps * RECIPE.batch_size / first["train_s"])
        assert 0 < first["validation_s"] < 1e4
        assert 0.05 < first["process_gib"] < 100


def test_the_final_dice_is_that_of_the_report(killed: RunDirectory) -> None:
    metrics = json.loads(killed.metrics.read_text())
    for fold in metrics["folds"]:
        (point,) = read(killed.fold(fold["fold"]).path).Scalars("final/dice_nested")
        assert point.value == pytest.approx(fold["dice"], abs=1e-6)


def test_nothing_is_written_into_a_fold_without_history(dataset: Path, tmp_path: Path, world: World) -> None:
    run = finish_folds(tmp_path / "run", dataset, world)
    fold_log.add_nested_dice(run, compute_metrics(read_histograms(run)), {})
    assert not list(run.path.rglob("events.out.*"))
