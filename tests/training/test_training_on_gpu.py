"""Training on a GPU: ``./launch.sh test -m gpu``. What takes no time runs in the default suite too, on the CPU."""

import copy
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from training_runs import AfterSteps, Never, shrunk, training

from pneumo.distributed.device_memory import release_memory
from pneumo.distributed.world import World
from pneumo.inference.config import Precision
from pneumo.loading.contract import Batch
from pneumo.loading.kind import LoaderKind
from pneumo.masks.submission import read
from pneumo.modeling.losses.loss import SUMS
from pneumo.modeling.losses.registry import LossConfig
from pneumo.modeling.mean_segmenter import MeanSegmenter
from pneumo.runtime.errors import StopRequested, UserError
from pneumo.training import run_directory
from pneumo.training.batch_norm import estimate_statistics
from pneumo.training.checkpoint import Snapshot
from pneumo.training.consistency_config import ConsistencyConfig
from pneumo.training.cross_validation import train
from pneumo.training.loop_state import LoopState
from pneumo.training.recipe import Recipe
from pneumo.training.train_state import TrainState

GPU = pytest.mark.gpu
EITHER_DEVICE = pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=GPU)])
RECIPE = shrunk("debug")
CPU = torch.device("cpu")
TOTAL = SUMS.index("total")


def micro_batches(device: torch.device, recipe: Recipe = RECIPE) -> list[Batch]:
    """Return a step's fixed random batches."""
    generator = torch.Generator().manual_seed(0)
    size = recipe.image_size[0]
    images = torch.rand(recipe.micro_batches, recipe.micro_batch_size, 1, size, size, generator=generator)
    rows = np.arange(recipe.micro_batch_size)
    return [Batch(image=i.to(device), mask=(i > 0.95).float().to(device), rows=rows) for i in images]


def losses(world: World, recipe: Recipe = RECIPE, steps: int = 3, rate: float = 1e-3) -> list[float]:
    """Return the total loss of each of some steps on the fixed batches."""
    state = TrainState(recipe, 7, world, world)
    batches = micro_batches(world.device, recipe)
    return [float(state.step(batches, step, rate).loss_sums[TOTAL]) for step in range(steps)]


@EITHER_DEVICE
def test_a_step_on_the_device_is_that_on_a_cpu(device: str, world: World) -> None:
    assert world.device.type == device
    # "auto" is bf16 on most GPUs. At 32 pixels the deepest statistics are those of two values, where rounding moves the
    # gradient by percents; at 128 pixels by 1e-5.
    recipe = replace(RECIPE, precision="fp32", image_size=(128,), batch_size=8, micro_batch_size=4)
    results = []
    for where in (world, replace(world, device=CPU)):
        state = TrainState(recipe, 7, where, where)
        results.append(state.step(micro_batches(where.device, recipe), 0, 1e-3))
    ours, theirs = results
    assert ours.loss_sums.device.type == device
    torch.testing.assert_close(ours.loss_sums.cpu(), theirs.loss_sums, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(ours.gradient_norm.cpu(), theirs.gradient_norm, rtol=1e-3, atol=1e-4)


@EITHER_DEVICE
def test_frozen_and_averaged_weights_and_the_mean_of_networks_are_on_the_device(device: str, world: World) -> None:
    """Stochastic weight averaging, statistics of the mean, the loss of a micro-batch, and a prediction of two."""
    loss = LossConfig(bce=0.0, dice=0.0, focal=10.0, log_dice=1.0)
    model = replace(RECIPE.model, presence_head=False)
    recipe = replace(RECIPE, precision="fp32", freeze_encoder_norm=True, swa_epochs=1, loss=loss, model=model)
    state = TrainState(recipe, 7, world, world)
    batches, ends = micro_batches(world.device, recipe), []
    for step in range(2):
        assert torch.isfinite(state.step(batches, step, 1e-3).loss_sums).all()
        state.add_to_swa()
        ends.append({name: value.detach().clone() for name, value in state.model.named_parameters()})
    estimate_statistics(state.averaged, [b.image for b in batches], len(batches), world, state.autocast)
    for name, value in state.averaged.named_parameters():
        assert value.device.type == device
        torch.testing.assert_close(value, (ends[0][name] + ends[1][name]) / 2, rtol=1e-5, atol=1e-7)
    members = [copy.deepcopy(state.ema.model), copy.deepcopy(state.averaged)]
    mean = MeanSegmenter(members).eval()  # type: ignore[arg-type]
    with torch.no_grad():
        found = torch.sigmoid(mean(batches[0].image).logits)
        each = [torch.sigmoid(member(batches[0].image).logits) for member in members]
    torch.testing.assert_close(found, (each[0] + each[1]) / 2, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("device", "precision"),
    [("cpu", "fp32"), *(pytest.param("cuda", precision, marks=GPU) for precision in ("fp32", "bf16", "fp16"))],
)
def test_the_teacher_is_followed_on_the_device(device: str, precision: Precision, world: World) -> None:
    """With a loss of the unlabeled images that outweighs the other, both networks soon say nearly the same of them."""
    consistency = ConsistencyConfig(images=4, weight=1e3, presence_weight=10.0)
    state = TrainState(replace(RECIPE, precision=precision, consistency=consistency, ema_decay=0.99), 7, world, world)
    with torch.no_grad():
        for parameter in state.ema.model.parameters():
            parameter.mul_(1.2)
    batches = micro_batches(world.device)
    others = [replace(batch, image=batch.image.flip(-2)) for batch in batches]
    results = [state.step(batches, step, 1e-3, others) for step in range(15)]
    found = [float(result.loss_sums[-1]) for result in results if not result.skipped]
    assert results[-1].loss_sums.device.type == device
    assert found[-1] < 0.5 * found[0]


@pytest.mark.parametrize(
    ("device", "precision"),
    [
        ("cpu", "fp32"),
        ("cpu", "bf16"),
        *(pytest.param("cuda", precision, marks=GPU) for precision in ("fp32", "bf16", "fp16")),
    ],
)
def test_one_batch_is_learned_in_every_precision(device: str, precision: Precision, world: World) -> None:
    recipe = replace(RECIPE, precision=precision)
    assert world.device.type == device
    state = TrainState(recipe, 7, world, world)
    assert state.scaling.scaler.is_enabled() == (precision == "fp16")
    with state.autocast():
        logits = state.network(micro_batches(world.device)[0].image).logits
    assert logits.dtype == {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    found = losses(world, recipe, steps=15, rate=1e-2)
    assert found[-1] < 0.6 * found[0]


@GPU
def test_an_overflow_in_fp16_skips_the_step_and_the_scale_resumes(world: World) -> None:
    recipe = replace(RECIPE, precision="fp16")
    state = TrainState(recipe, 7, world, world)
    state.scaling.scaler = torch.amp.GradScaler("cuda", init_scale=2.0**60)
    before = copy.deepcopy(state.model.state_dict())
    assert state.step(micro_batches(world.device), 0, 1e-3).skipped
    assert all(torch.equal(value, before[name]) for name, value in state.model.state_dict().items())
    assert state.scaling.scaler.get_scale() == 2.0**59
    restored = TrainState(recipe, 7, world, world)
    restored.restore(copy.deepcopy(Snapshot(LoopState(), state.weights(), state.optimizer_state())))
    assert restored.scaling.scaler.get_scale() == 2.0**59


@GPU
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_compiled_network_trains_at_two_sizes(precision: Precision, world: World) -> None:
    for size in (64, 96):
        plain = replace(RECIPE, precision=precision, image_size=(size,))
        tolerance = 1e-3 if precision == "fp32" else 3e-2
        assert losses(world, replace(plain, compile=True)) == pytest.approx(losses(world, plain), rel=tolerance)


@EITHER_DEVICE
def test_equal_steps_agree_within_rounding(device: str, world: World) -> None:
    assert world.device.type == device
    assert losses(world) == pytest.approx(losses(world), rel=1e-3 if device == "cuda" else 0)


def history(run: Path) -> list[dict[str, float]]:
    return [
        entry
        for fold in run_directory.load(run).path.glob("fold-*")
        for entry in json.loads((fold / "fold.json").read_text())["history"]
    ]


@pytest.mark.parametrize(
    ("device", "loader"),
    [
        # On a CPU, to test this test.
        pytest.param("cpu", "opencv", marks=pytest.mark.slow),
        pytest.param("cuda", "opencv", marks=GPU),
        pytest.param("cuda", "dali", marks=GPU),
    ],
)
def test_a_run_goes_from_dataset_to_submission_and_resumes(
    device: str, loader: LoaderKind, dataset: Path, tmp_path: Path, world: World, caplog: pytest.LogCaptureFixture
) -> None:
    assert world.device.type == device
    if loader == "dali":
        pytest.importorskip("nvidia.dali")
    recipe = replace(RECIPE, loader=loader, epochs=(2,))
    train(training(recipe, dataset, tmp_path / "whole"), world, Never())
    run = run_directory.load(tmp_path / "whole")
    metrics = json.loads(run.metrics.read_text())
    assert metrics["oof_csv_dice"] == pytest.approx(metrics["nested"]["dice"], abs=5e-3)
    assert "the second prediction differs" not in caplog.text
    assert len(read(run.submission)) == 6
    with pytest.raises(StopRequested):
        train(training(recipe, dataset, tmp_path / "pieces"), world, AfterSteps(3))
    train(training(recipe, dataset, tmp_path / "pieces"), world, Never())
    whole, pieces = history(tmp_path / "whole"), history(tmp_path / "pieces")
    assert len(whole) == len(pieces) == 4
    # Losses after one step agree within rounding, which Adam's first steps enlarge.
    for ours, theirs in zip(whole, pieces, strict=True):
        assert ours["train/total"] == pytest.approx(theirs["train/total"], rel=5e-2 if device == "cuda" else 0)


@pytest.fixture
def little_memory(world: World) -> Iterator[None]:
    """Let this process have 64 MiB of the GPU."""
    release_memory()
    total = torch.cuda.get_device_properties(world.device).total_memory
    torch.cuda.set_per_process_memory_fraction((64 << 20) / total, world.device)
    yield
    torch.cuda.set_per_process_memory_fraction(1.0, world.device)
    release_memory()


@GPU
@pytest.mark.usefixtures("little_memory")
def test_too_little_memory_names_the_flags(dataset: Path, tmp_path: Path, world: World) -> None:
    recipe = replace(RECIPE, image_size=(1024,), loader="opencv")
    with pytest.raises(
        UserError, match=r"too little memory \(OutOfMemoryError: CUDA out of memory.*lower --micro-batch"
    ):
        train(training(recipe, dataset, tmp_path / "run"), world, Never())
