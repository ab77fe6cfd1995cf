"""The time and memory of a few real optimizer steps and predictions, on this rank's device and with real images."""

import resource
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from statistics import median

import torch

from pneumo.distributed import heartbeat
from pneumo.distributed.collectives import Group
from pneumo.distributed.world import World
from pneumo.inference.build import build_predictor
from pneumo.inference.evaluation import validation_metrics
from pneumo.inference.out_of_fold import predict_histograms
from pneumo.loading.build import build_loader
from pneumo.loading.contract import BatchPlan, Loader
from pneumo.runtime.console import Progress
from pneumo.training.epoch import Epoch
from pneumo.training.fold_data import FoldData
from pneumo.training.host_copy import HostCopy
from pneumo.training.plan import StageCost
from pneumo.training.recipe import Recipe
from pneumo.training.train_state import TrainState

WARM_UP_STEPS = 1
"""Steps before those that count: the first one allocates memory, and on a GPU chooses algorithms."""
STEPS = 3
"""Steps that count; a time is their median."""
PREDICTED_IMAGES = 16


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Memory at its peak, in bytes."""

    process: int
    """Of this process on the machine."""
    device: int = 0
    """Of this process on its GPU by torch, 0 without one."""
    device_total: int = 0
    """What the GPU has."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What the steps cost."""

    costs: tuple[StageCost, ...]
    """Of each stage."""
    memory: Memory
    checkpoint_bytes: int
    """Size of a checkpoint at most: weights, averaged weights and the best of these, optimizer."""
    weights_bytes: int
    """Size of the averaged weights alone."""


def measure(
    recipe: Recipe,
    data: FoldData,
    device: torch.device,
    *,
    workers: int,
    micro_batches: int,
    unlabeled: int = 0,
    keep_decoded: bool = True,
    images_at_once: int = 0,
) -> Measured:
    """Do a few steps and predictions of each stage on one rank.

    Args:
        recipe: What would be trained; weights that would be downloaded are random here.
        data: The samples of a fold.
        device: Where to compute.
        workers: Threads of the loader.
        micro_batches: How many a step has on this rank.
        unlabeled: How many of unlabeled images it has beside them.
        keep_decoded: Whether the loader may keep decoded images on the device, as it would in training.
        images_at_once: Images in one forward pass, see ``PassSize``.
    """
    downloaded = recipe.model.encoder_weights == "imagenet"
    model = replace(recipe.model, encoder_weights="none") if downloaded else recipe.model
    size = recipe.micro_batch_size
    consistency = replace(recipe.consistency, images=unlabeled * size)
    share = replace(recipe, model=model, batch_size=micro_batches * size, consistency=consistency)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    loader = build_loader(
        share.loader, data.reader, device, workers, augmentation=share.augmentation, keep_decoded=keep_decoded
    )
    world = World(rank=0, size=1, device=device, cores=workers)
    state = TrainState(share, 0, world, Group(rank=0, size=1, device=device), images_at_once)
    costs, checkpoint = [], HostCopy(device)
    with Progress("dry run", len(share.stages) * (WARM_UP_STEPS + STEPS), unit="steps") as progress:
        for stage in share.stages:
            epoch = Epoch(
                recipe=share,
                stage=stage,
                index=0,
                seed=0,
                table=data.reader.table,
                rows=data.train_rows,
                unlabeled_rows=data.unlabeled_rows,
            )
            seconds, waits = _time_steps(state, loader, epoch, progress)
            # As training does behind its first step: it keeps this memory.
            checkpoint.take(_checkpoint(state, share))
            costs.append(
                StageCost(
                    micro_batch_s=median(seconds) / micro_batches,
                    waiting=sum(waits) / sum(seconds),
                    prediction_s=_time_prediction(share, stage.image_size, state, loader, data),
                )
            )
    saved = _count_bytes(_checkpoint(state, share))
    weights = _count_bytes(state.averaged.state_dict())
    return Measured(costs=tuple(costs), memory=_peak_memory(device), checkpoint_bytes=saved, weights_bytes=weights)


def _checkpoint(state: TrainState, recipe: Recipe) -> list[object]:
    """Return what a checkpoint holds of the device."""
    if recipe.keep == "best":
        state.snapshot_best()
    if recipe.swa_epochs and state.swa is None:
        state.add_to_swa()
    return [state.weights(), state.optimizer_state()]


def _time_steps(state: TrainState, loader: Loader, epoch: Epoch, progress: Progress) -> tuple[list[float], list[float]]:
    """Return the seconds of each step that counts, and those of them that it waited for its images."""
    seconds, waits = [], []
    labeled, unlabeled = state.micro_batch_indices, state.unlabeled_indices
    loaded = loader(_plans(epoch, WARM_UP_STEPS + STEPS, labeled, unlabeled))
    for step in range(WARM_UP_STEPS + STEPS):
        start = time.monotonic()
        batches = list(islice(loaded, len(labeled)))
        others = list(islice(loaded, len(unlabeled)))
        waited = time.monotonic() - start
        state.step(batches, step, epoch.stage.learning_rate, others)
        if state.device.type == "cuda":
            torch.cuda.synchronize(state.device)
        if step >= WARM_UP_STEPS:
            seconds.append(time.monotonic() - start)
            waits.append(waited)
        progress.step()
        heartbeat.touch()
    # Only at its end does a loader keep its pipeline for the next call.
    next(loaded, None)
    return seconds, waits


def _plans(epoch: Epoch, steps: int, micro_batches: range, unlabeled: range) -> Iterator[BatchPlan]:
    """Yield the plans of the epoch's first steps, of those of a short epoch again and again."""
    for step in range(steps):
        first = step % epoch.steps
        yield from epoch.plans(range(first, first + 1), micro_batches, unlabeled)


def _time_prediction(recipe: Recipe, size: int, state: TrainState, loader: Loader, data: FoldData) -> float:
    """Return the seconds to predict an image, from its file to its histogram, without test-time augmentation.

    The metrics that follow are computed too, not timed: they and their libraries take memory.
    """
    predictor = build_predictor(replace(recipe.inference, size=size, tta=()), state.averaged, state.device)
    rows = data.validation_rows[:PREDICTED_IMAGES]
    start = time.monotonic()
    histograms = predict_histograms(predictor, loader, data.reader, rows, state.group)
    seconds = time.monotonic() - start
    assert histograms is not None, "a rank alone leads"
    validation_metrics(histograms)
    return seconds / len(rows)


def _count_bytes(values: object) -> int:
    """Count the bytes of the tensors in nested containers."""
    if isinstance(values, torch.Tensor):
        return values.numel() * values.element_size()
    if isinstance(values, Mapping):
        return sum(map(_count_bytes, values.values()))
    return sum(map(_count_bytes, values)) if isinstance(values, (list, tuple)) else 0


def _peak_memory(device: torch.device) -> Memory:
    # Linux gives kibibytes.
    process = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    if device.type != "cuda":
        return Memory(process=process)
    total = torch.cuda.get_device_properties(device).total_memory
    return Memory(process=process, device=torch.cuda.max_memory_reserved(device), device_total=total)
