"""Every named recipe, shrunk to seconds, from the dataset to its submission; and what a stop and a resume leave."""

import json
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch

from pneumo.dataset.manifest import Manifest
from pneumo.dataset.shard_reader import ShardReader
from pneumo.dataset.table import SampleTable
from pneumo.distributed.stopping import StopFlag
from pneumo.distributed.world import World
from pneumo.inference.submit import write_submission
from pneumo.loading.augmentation.distortion import Distortion
from pneumo.loading.augmentation.table import Augmentation
from pneumo.masks.submission import read
from pneumo.modeling.models import ModelConfig
from pneumo.runtime.errors import StopRequested, UserError
from pneumo.training import checkpoint, run_directory
from pneumo.training.cross_validation import TrainingInputs, train
from pneumo.training.ensemble import build_ensembler
from pneumo.training.loop import LoopOptions
from pneumo.training.recipe import Recipe
from pneumo.training.recipes import RECIPES, debug

OPTIONS = LoopOptions(checkpoint_every=0, workers=1)


class Never(StopFlag):
    """Nobody asks to stop, and pytest keeps its signal handlers."""

    def __init__(self) -> None:
        self.signal_name = ""


class AfterLooks(Never):
    """Asks to stop when it has been looked at a number of times."""

    def __init__(self, looks: int) -> None:
        super().__init__()
        self.looks = looks

    def __bool__(self) -> bool:
        self.looks -= 1
        return self.looks < 0


def shrunk(name: str) -> Recipe:
    recipe = RECIPES[name]()
    tiny = replace(recipe.model, encoder="resnet18", encoder_weights="none")
    return replace(
        recipe, model=tiny, epochs=(1,), image_size=(32,), batch_size=4, micro_batch_size=2, learning_rate=(1e-3,)
    )


def job(recipe: Recipe, dataset: Path, run: Path) -> TrainingInputs:
    return TrainingInputs(recipe=recipe, dataset=dataset, run=run, folds=(), expected=None, options=OPTIONS)


@pytest.mark.parametrize(
    "recipe",
    [
        *(pytest.param(shrunk(name), id=name) for name in RECIPES if name != "debug"),  # job/train.py's tests run it
        pytest.param(
            replace(shrunk("debug"), model=ModelConfig(architecture="unetplusplus", encoder="resnet18")), id="unet++"
        ),
        pytest.param(replace(shrunk("debug"), loader="dali"), id="dali"),
        pytest.param(replace(shrunk("debug"), channels_last=False), id="channels-first"),
        pytest.param(
            replace(shrunk("debug"), augmentation=Augmentation(distortion=Distortion(probability=1.0))), id="distorted"
        ),
    ],
)
def test_a_recipe_runs_from_dataset_to_submission(recipe: Recipe, dataset: Path, tmp_path: Path, world: World) -> None:
    train(job(recipe, dataset, tmp_path / "run"), world, Never())
    run = run_directory.load(tmp_path / "run")
    assert run.recipe == recipe
    history = json.loads(run.fold(1).summary.read_text())["history"]
    assert len(history) == sum(stage.epochs for stage in recipe.stages)
    assert {"train/total", "val/dice_best_rule"} <= history[-1].keys()
    metrics = json.loads(run.metrics.read_text())
    assert metrics["oof_csv_dice"] == pytest.approx(metrics["nested"]["dice"], abs=1e-12)
    assert len(read(run.submission)) == Manifest.read(dataset).test


def test_bf16_trains(dataset: Path, tmp_path: Path) -> None:
    """In a process of its own, as a process has one precision."""
    import subprocess
    import sys

    words = ["--recipe", "debug", "--image-size", "32", "--precision", "bf16", "--folds", "0"]
    script = Path(__file__).resolve().parents[2] / "job" / "train.py"
    command = [sys.executable, str(script), "--dataset", str(dataset), "--run", str(tmp_path / "run"), *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    history = json.loads((tmp_path / "run" / "fold-0" / "fold.json").read_text())["history"]
    assert 0 < history[0]["train/total"] < 10


def test_patience_ends_a_stage_and_the_next_one_follows(dataset: Path, tmp_path: Path, world: World) -> None:
    # At this rate weights stand still; scores move with the batch statistics alone, and soon fail to get better.
    recipe = replace(shrunk("debug"), epochs=(6, 1), learning_rate=(1e-12, 1e-12), patience=1, keep="best")
    train(job(recipe, dataset, tmp_path / "run"), world, Never())
    ended_early = 0
    for fold in (0, 1):
        history = json.loads((tmp_path / "run" / f"fold-{fold}" / "fold.json").read_text())["history"]
        scores = [entry["val/dice_best_rule"] for entry in history if entry["stage"] == 0]
        better = [score > max(scores[:n], default=-1) for n, score in enumerate(scores)]
        assert all(better[:-1]), "a stage goes on only after a better score"
        assert len(scores) == 6 or not better[-1]
        ended_early += len(scores) < 6
        # Epochs keep their nominal numbers, so the second stage begins with the seventh.
        assert [entry["epoch"] for entry in history if entry["stage"] == 1] == [7]
    assert ended_early


def test_a_stop_at_any_step_and_a_resume_change_nothing(dataset: Path, tmp_path: Path, world: World) -> None:
    # Two stages of an epoch of four steps, for each of two folds: 16 steps, of which a stop at look n does n + 1.
    recipe = replace(shrunk("debug"), epochs=(1, 1), image_size=(32, 64), keep="best", patience=5)
    train(job(recipe, dataset, tmp_path / "whole"), world, Never())
    folder = tmp_path / "pieces"
    for looks in (0, 2, 3, 4):  # within an epoch, at its last step, across a stage's border, across the folds' border
        with pytest.raises(StopRequested):
            train(job(recipe, dataset, folder), world, AfterLooks(looks))
    train(job(recipe, dataset, folder), world, Never())
    for fold in (0, 1):
        name = f"fold-{fold}/model.safetensors"
        assert (folder / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert (folder / "submission.csv").read_bytes() == (tmp_path / "whole" / "submission.csv").read_bytes()


def test_the_gradient_scaler_goes_on_where_it_was(
    dataset: Path, tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """fp16 itself needs a GPU; its scaler does not."""
    scaler = partial(torch.amp.GradScaler, init_scale=4.0, growth_interval=3)
    monkeypatch.setattr(torch.amp, "GradScaler", lambda device, enabled: scaler(device, enabled=True))
    recipe = replace(shrunk("debug"), epochs=(2,))
    whole, pieces = (replace(job(recipe, dataset, tmp_path / name), folds=(0,)) for name in ("whole", "pieces"))
    train(whole, world, Never())
    with pytest.raises(StopRequested):
        train(pieces, world, AfterLooks(4))
    states = []
    for folder in (pieces.run, whole.run):
        path = checkpoint.latest(run_directory.load(folder).fold(0).checkpoints)
        assert path is not None
        states.append(checkpoint.load(path).optimizer["scaler"])
    # In eight steps it grows twice; the stop, after five, is between the two.
    assert (states[0]["scale"], states[0]["_growth_tracker"]) == (8.0, 2)
    assert (states[1]["scale"], states[1]["_growth_tracker"]) == (16.0, 2)
    train(pieces, world, Never())
    newest = checkpoint.latest(run_directory.load(pieces.run).fold(0).checkpoints)
    assert newest is not None
    assert checkpoint.load(newest).optimizer["scaler"] == states[1]
    weights = "fold-0/model.safetensors"
    assert (pieces.run / weights).read_bytes() == (whole.run / weights).read_bytes()


def test_a_loss_that_is_not_finite_is_an_error_and_not_a_checkpoint(
    dataset: Path, tmp_path: Path, world: World
) -> None:
    recipe = replace(shrunk("debug"), learning_rate=(9.0,), clip_norm=0.0, optimizer="adam", epochs=(30,))
    recipe = replace(recipe, loss=replace(recipe.loss, bce=1e38))
    with pytest.raises(UserError, match=r"loss of fold 0 is not finite at step .*; expected a finite loss"):
        train(job(recipe, dataset, tmp_path / "run"), world, Never())
    for weights in (tmp_path / "run").rglob("*.safetensors"):
        import safetensors.torch

        assert all(torch.isfinite(t).all() for t in safetensors.torch.load_file(weights).values())


def test_a_damaged_shard_is_named(dataset: Path, tmp_path: Path, world: World) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(dataset, copy)
    (shard,) = (copy / "shards").glob("train-*.tar")
    shard.write_bytes(shard.read_bytes()[:50_000])
    with pytest.raises(UserError, match=r"in shards/train-000000\.tar of .*the shard ends at byte 50000"):
        train(job(debug(), copy, tmp_path / "run"), world, Never())


def test_a_damaged_image_is_left_out_of_training_alone_when_it_is_a_test_image_too(
    synthetic: object, tmp_path: Path, world: World
) -> None:
    """The same ids in both splits: what is drawn, scored and left out are the training images."""
    from pneumo.dataset.build import build
    from pneumo.dataset.options import BuildInputs, BuildOptions

    folder, masks = synthetic.dicom, synthetic.masks  # type: ignore[attr-defined]
    again = shutil.copytree(folder, tmp_path / "again")
    build(
        BuildInputs(dicom=folder, test_dicom=again, masks=masks), tmp_path / "d", BuildOptions(num_folds=2, workers=1)
    )
    table = SampleTable.read(tmp_path / "d")
    row = int(table.select("train")[4])
    shard = tmp_path / "d" / "shards" / str(table.shard[row])
    content = bytearray(shard.read_bytes())
    content[int(table.offset[row]) + 300] ^= 4
    shard.write_bytes(content)
    train(replace(job(shrunk("debug"), tmp_path / "d", tmp_path / "run"), skip_damaged=True), world, Never())
    run = run_directory.load(tmp_path / "run")
    assert list(run.dataset.excluded) == [table.image_id[row]]
    assert json.loads(run.metrics.read_text())["images"] == 31
    assert len(read(run.submission)) == 32
    assert run.picture.is_file()


def test_new_test_images_are_predicted_with_a_finished_run(
    dataset: Path, synthetic: object, tmp_path: Path, world: World
) -> None:
    """The run's own dataset is not needed: its histograms are in the run."""
    from pneumo.dataset.build import build
    from pneumo.dataset.options import BuildInputs, BuildOptions

    train(job(shrunk("debug"), dataset, tmp_path / "run"), world, Never())
    build(BuildInputs(dicom=synthetic.test_dicom), tmp_path / "new", BuildOptions(num_folds=2, workers=1))  # type: ignore[attr-defined]
    run = run_directory.load(tmp_path / "run")
    reader = ShardReader(tmp_path / "new", SampleTable.read(tmp_path / "new"))
    write_submission(build_ensembler([run], reader=reader, world=world, workers=1), tmp_path / "s.csv")
    assert (tmp_path / "s.csv").read_bytes() == run.submission.read_bytes()
