"""Predicting a handful of images with job/predict.py, and the part of it that no program can leave out."""

import shutil
import warnings
from functools import partial
from pathlib import Path

import torch

from pneumo.bench.comparison import Comparison, per_item
from pneumo.bench.settings import Settings
from pneumo.bench.shard import paths_of
from pneumo.bench.source import Source
from pneumo.bench.start import JOB, start
from pneumo.bench.timing import quiet, time_in_turns
from pneumo.dataset.build import make_plan
from pneumo.dataset.options import BuildOptions
from pneumo.dataset.workers import Pool
from pneumo.inference.prediction import BATCH_SIZE
from pneumo.modeling import models
from pneumo.training import run_directory
from pneumo.training.fold_results import trained_weights
from pneumo.training.run_directory import RunDirectory

IMAGES = 10
_LIMIT = """
import sys, torch
images, batch, views, size, *networks = sys.argv[1:]
images, batch = int(images), int(batch)
with torch.inference_mode(), torch.jit.optimized_execution(False):
    for path in networks:
        network = torch.jit.load(path)
        for start in range(0, images, batch):
            image = torch.zeros(min(batch, images - start), 1, int(size), int(size))
            for _ in range(int(views)):
                network(image)
"""
"""Imports torch alone, reads the networks of all folds, and passes as many images through each as are predicted."""


def measure(settings: Settings, source: Source) -> list[Comparison]:
    """Time the whole command on ten of the DICOMs, with a run of the recipe debug."""
    directory = source.directory / "predict"
    images, out = directory / "images", directory / "out"
    count = _copy_some(source, images)
    run = directory / "run"
    # Each command as a user starts it.
    start(str(JOB / "train.py"), "--dataset", str(source.dataset), "--run", str(run), "--recipe", "debug")
    finished = run_directory.load(run)
    inference = finished.recipe.inference
    limit = (count, BATCH_SIZE, 1 + len(inference.tta), inference.size, *_save_networks(finished, directory))
    command = (str(JOB / "predict.py"), "--run", str(run), "--dicom", str(images), "--out", str(out))
    works = [
        partial(start, *command, "--workers", str(settings.workers)),
        partial(start, "-c", _LIMIT, *map(str, limit)),
    ]
    ours, theirs = time_in_turns(works, settings.repeat, prepare=partial(shutil.rmtree, out, ignore_errors=True))
    what, baseline = f"job/predict.py, {count} images", "limit: import torch, read weights, forward passes"
    return [per_item("predict", what, baseline, "s", ours=ours, theirs=theirs, scale=1)]


def _copy_some(source: Source, directory: Path) -> int:
    """Copy the first images of the source; return how many."""
    options = BuildOptions()
    with quiet(), Pool(options.workers, options.limits) as pool:
        paths = paths_of(make_plan(source.inputs, directory, options, pool))[:IMAGES]
    directory.mkdir(parents=True)
    for path in paths:
        shutil.copyfile(path, directory / path.name)
    return len(paths)


def _save_networks(run: RunDirectory, directory: Path) -> list[Path]:
    """Save the network of each fold so that torch alone can read it."""
    saved = []
    network = models.build(run.recipe.model).eval()
    example = torch.zeros(1, 1, run.recipe.inference.size, run.recipe.inference.size)
    for fold, weights in enumerate(trained_weights(run)):
        weights.load(network, weights.read())
        path = directory / f"{fold}.pt"
        with warnings.catch_warnings():
            # torch warns of other uses than this one, and that the format is an old one.
            warnings.simplefilter("ignore")
            torch.jit.save(torch.jit.trace(network, example), path)  # type: ignore[no-untyped-call]
        saved.append(path)
    return saved
