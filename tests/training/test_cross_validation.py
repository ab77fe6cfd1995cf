"""Every named recipe, shrunk to seconds, from the dataset to its submission; runs that are stopped and resumed."""

import gc
import json
import shutil
import signal
import weakref
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import warm_python
from training_runs import TINY, AfterSteps, Never, shrunk, training
from waiting import LONG_S

from pneumo.dataset.manifest import Manifest
from pneumo.dataset.shard_reader import ShardReader
from pneumo.dataset.table import SampleTable
from pneumo.distributed.stopping import StopFlag, stop_signals
from pneumo.distributed.world import World
from pneumo.inference.decision_rule import DecisionRule, read_rule, write_rule
from pneumo.inference.ensembler import Ensembler
from pneumo.inference.submit import write_submission
from pneumo.loading.augmentation.distortion import Distortion
from pneumo.loading.augmentation.registry import Augmentation
from pneumo.loading.kind import LoaderKind
from pneumo.masks.submission import read
from pneumo.modeling.config import ModelConfig
from pneumo.runtime.errors import StopRequested, UserError, first_line
from pneumo.training import cross_validation, run_directory
from pneumo.training.cross_validation import train, warn_if_slow
from pneumo.training.ensemble import build_mean
from pneumo.training.loop import FoldTrainer
from pneumo.training.recipe import Recipe
from pneumo.training.recipes import RECIPES, debug
from pneumo.training.train_state import TrainState

# job/train.py's tests run the first, test_consistency.py the second with unlabeled images, and the others differ from
# the recipe winner by their encoders and weights alone.
ELSEWHERE = {"debug", "fifth", *(name for name in RECIPES if name.startswith("winner-"))}


@pytest.mark.parametrize(
    "recipe",
    [
        *(pytest.param(shrunk(name), id=name) for name in RECIPES if name not in ELSEWHERE),
        pytest.param(replace(shrunk("debug"), loader="dali"), id="dali"),
        pytest.param(
            replace(
                shrunk("debug"),
                model=ModelConfig(architecture="unetplusplus", encoder=TINY),
                channels_last=False,
                augmentation=Augmentation(distortion=Distortion(probability=1.0)),
            ),
            id="unet++, channels first, distorted",
        ),
    ],
)
def test_a_recipe_runs_from_dataset_to_submission(recipe: Recipe, dataset: Path, tmp_path: Path, world: World) -> None:
    train(training(recipe, dataset, tmp_path / "run"), world, Never())
    run = run_directory.load(tmp_path / "run")
    assert run.recipe == replace(recipe, precision="fp32", loader="dali" if recipe.loader == "dali" else "opencv")
    history = json.loads(run.fold(1).summary.read_text())["history"]
    assert len(history) == sum(stage.epochs for stage in recipe.stages)
    assert {"train/total", "val/dice_best_rule"} <= history[-1].keys()
    metrics = json.loads(run.metrics.read_text())
    assert metrics["oof_csv_dice"] == pytest.approx(metrics["nested"]["dice"], abs=1e-12)
    assert len(read(run.submission)) == Manifest.read(dataset).test


def test_the_recipe_s_small_components_are_removed_from_the_submission(
    dataset: Path, tmp_path: Path, world: World
) -> None:
    """Of a rule under which every image has a mask, nothing is left by a recipe that keeps whole images alone."""
    inputs = training(replace(shrunk("debug"), min_component=2.0**20), dataset, tmp_path / "run")
    train(inputs, world, Never())
    run = run_directory.load(inputs.run)
    write_rule(run.thresholds, DecisionRule(1, 0.0, 1))
    reader = ShardReader(dataset, SampleTable.read(dataset))
    mean = build_mean([run], reader=reader, world=world, workers=1)
    rows = reader.table.select("test")
    areas = [p.mask_area for p in Ensembler(mean, read_rule(run.thresholds)).run(rows)]
    assert min(areas) > 0
    train(inputs, world, Never())
    whole = {image_id for image_id, text in dict(read(run.submission)).items() if text != "-1"}
    sizes = {str(reader.table.image_id[row]): reader.table.shape(row) for row in rows.tolist()}
    found = {
        p for p, area in zip(reader.table.image_id[rows].tolist(), areas, strict=True) if area == np.prod(sizes[p])
    }
    assert whole == found
    found = json.loads(run.metrics.read_text())
    assert (found["min_component"], found["oof_csv_dice"]) == (2**20, pytest.approx(found["nested"]["dice"], abs=1e-12))
    assert "components" not in " ".join(found["caveats"])


def test_bf16_trains(dataset: Path, tmp_path: Path) -> None:
    """In a process of its own, as a process has one precision."""
    import subprocess

    words = ["--recipe", "debug", "--image-size", "32", "--model.encoder", TINY, "--precision", "bf16", "--folds", "0"]
    script = Path(__file__).resolve().parents[2] / "job" / "train.py"
    command = [warm_python.executable(), script, "--dataset", dataset, "--run", tmp_path / "run", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LONG_S, check=False)
    assert done.returncode == 0, done.stderr
    history = json.loads((tmp_path / "run" / "fold-0" / "fold.json").read_text())["history"]
    assert 0 < history[0]["train/total"] < 10


def test_a_stop_at_any_step_and_a_resume_change_nothing(dataset: Path, tmp_path: Path, world: World) -> None:
    # Two stages of one epoch of four steps, for each of two folds: 16 steps.
    recipe = replace(shrunk("debug"), epochs=(1, 1), image_size=(32, 64), keep="best", patience=5)
    train(training(recipe, dataset, tmp_path / "whole"), world, Never())
    directory = tmp_path / "pieces"
    for steps in (1, 3, 4, 5):  # within an epoch, at its last step, into the next stage, into the next fold
        with pytest.raises(StopRequested):
            train(training(recipe, dataset, directory), world, AfterSteps(steps))
    train(training(recipe, dataset, directory), world, Never())
    for fold in (0, 1):
        name = f"fold-{fold}/model.safetensors"
        assert (directory / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert (directory / "submission.csv").read_bytes() == (tmp_path / "whole" / "submission.csv").read_bytes()


@pytest.mark.parametrize("loader", ["opencv", "dali"])
def test_nothing_of_a_fold_is_left_when_the_next_one_and_the_ensemble_begin(
    loader: LoaderKind, dataset: Path, tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts: list[weakref.ref[object]] = []
    alive_at = []
    pipelines: list[weakref.ref[object]] = []
    others_at_build = []

    def count_alive() -> None:
        alive_at.append(sum(part() is not None for part in parts))

    class Watched(FoldTrainer):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            count_alive()
            super().__init__(*arguments, **options)
            state = self.train_state
            parts.extend(map(weakref.ref, (self, self.loader, state, state.network, state.ema.model, state.optimizer)))

    def finish(*_: object) -> None:
        count_alive()

    def watch(build: Callable[..., Any], *arguments: Any) -> Any:
        others_at_build.append(sum(pipeline() is not None for pipeline in pipelines))
        pipeline = build(*arguments)
        pipelines.append(weakref.ref(pipeline))
        return pipeline

    if loader == "dali":
        dali = import_module("pneumo.loading.dali")
        monkeypatch.setattr(dali, "build_pipeline", partial(watch, dali.build_pipeline))
    monkeypatch.setattr(cross_validation, "FoldTrainer", Watched)
    monkeypatch.setattr(cross_validation, "_finish", finish)
    gc.disable()  # it would find circles by chance
    try:
        recipe = replace(shrunk("debug"), loader=loader, epochs=(3,), validate_every=1)
        train(training(recipe, dataset, tmp_path / "run"), world, Never())
    finally:
        gc.enable()
    assert len(parts) == 2 * 6
    assert alive_at == [0, 0, 0]
    # One for the first epoch's small batches, and one for all others, of each fold.
    assert others_at_build == [0] * (4 if loader == "dali" else 0)


OUT_OF_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of 15.77 GiB"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
]


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=lambda error: type(error).__name__)
def test_too_little_memory_in_training_names_the_flags_that_need_less(
    error: Exception, dataset: Path, tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> object:
        raise error

    monkeypatch.setattr(TrainState, "_backward", fail)
    with pytest.raises(UserError) as raised:
        train(training(shrunk("debug"), dataset, tmp_path / "run"), world, Never())
    assert raised.value.found == f"too little memory ({first_line(error)})"
    assert raised.value.expected == f"memory for --micro-batch-size 2 at --image-size 32 with {TINY}"
    assert raised.value.action.startswith(
        "lower --micro-batch-size or --image-size, or choose a smaller --model.encoder"
    )


def test_a_damaged_shard_is_named(dataset: Path, tmp_path: Path, world: World) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(dataset, copy)
    (shard,) = (copy / "shards").glob("train-*.tar")
    shard.write_bytes(shard.read_bytes()[:50_000])
    with pytest.raises(UserError, match=r"in shards/train-000000\.tar of .*the shard ends at byte 50000"):
        train(training(debug(), copy, tmp_path / "run"), world, Never())


def test_a_damaged_image_is_excluded_from_training_alone_when_it_is_a_test_image_too(
    synthetic: object, tmp_path: Path, world: World
) -> None:
    """The same ids in both splits: only training images are drawn, scored and excluded."""
    from pneumo.dataset.build import build
    from pneumo.dataset.options import BuildInputs, BuildOptions

    directory, masks = synthetic.dicom, synthetic.masks  # type: ignore[attr-defined]
    again = shutil.copytree(directory, tmp_path / "again")
    build(
        BuildInputs(dicom=directory, test_dicom=again, masks=masks),
        tmp_path / "d",
        BuildOptions(num_folds=2, workers=1),
    )
    table = SampleTable.read(tmp_path / "d")
    row = int(table.select("train")[4])
    shard = tmp_path / "d" / "shards" / str(table.shard[row])
    content = bytearray(shard.read_bytes())
    content[int(table.offset[row]) + 300] ^= 4
    shard.write_bytes(content)
    train(replace(training(shrunk("debug"), tmp_path / "d", tmp_path / "run"), skip_damaged=True), world, Never())
    run = run_directory.load(tmp_path / "run")
    assert list(run.dataset.excluded) == [table.image_id[row]]
    assert json.loads(run.metrics.read_text())["images"] == 31
    assert len(read(run.submission)) == 32
    assert run.overlay.is_file()


def test_new_test_images_are_predicted_with_a_finished_run(
    dataset: Path, synthetic: object, tmp_path: Path, world: World
) -> None:
    """The run's own dataset is not needed: its histograms are in the run."""
    from pneumo.dataset.build import build
    from pneumo.dataset.options import BuildInputs, BuildOptions

    train(training(shrunk("debug"), dataset, tmp_path / "run"), world, Never())
    build(BuildInputs(dicom=synthetic.test_dicom), tmp_path / "new", BuildOptions(num_folds=2, workers=1))  # type: ignore[attr-defined]
    run = run_directory.load(tmp_path / "run")
    reader = ShardReader(tmp_path / "new", SampleTable.read(tmp_path / "new"))
    mean = build_mean([run], reader=reader, world=world, workers=1)
    write_submission(Ensembler(mean, read_rule(run.thresholds)), tmp_path / "s.csv")
    assert (tmp_path / "s.csv").read_bytes() == run.submission.read_bytes()


@pytest.mark.parametrize("step", ["finish_run", "write_submission"])
def test_a_signal_during_the_metrics_or_the_submission_is_a_stop_and_the_same_command_ends_the_run(
    step: str, dataset: Path, tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = training(shrunk("debug"), dataset, tmp_path / "run")
    handlers = {number: signal.getsignal(number) for number in stop_signals()}
    try:
        with monkeypatch.context() as patched:
            patched.setattr(cross_validation, step, lambda *_, **__: signal.raise_signal(signal.SIGTERM))
            with pytest.raises(StopRequested, match=r"^during the metrics and the submission; received SIGTERM$"):
                train(inputs, world, StopFlag())
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    run = run_directory.load(tmp_path / "run")
    assert run.unfinished_folds == []
    assert not run.lock.exists()
    assert not run.submission.exists()
    train(inputs, world, Never())
    assert len(read(run.submission)) == Manifest.read(dataset).test


@pytest.mark.parametrize(
    ("size", "crop", "device", "warned"),
    [(512, (), "cpu", 1), (768, (384,), "cpu", 0), (512, (), "cuda", 0), (384, (), "cpu", 0)],
)
def test_a_recipe_for_gpus_on_a_cpu_is_warned_of(
    size: int, crop: tuple[int, ...], device: str, warned: int, caplog: pytest.LogCaptureFixture
) -> None:
    warn_if_slow(replace(debug(), image_size=(size,), crop_size=crop), torch.device(device))
    assert caplog.text.count("the recipe laptop is made for it") == warned
