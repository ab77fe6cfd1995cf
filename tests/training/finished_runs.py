"""Runs whose folds are finished without training: random weights, and the histograms that these predict."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from training_runs import TINY, TINY_DECODER

from pneumo.dataset.manifest import Manifest
from pneumo.dataset.shard_reader import ShardReader
from pneumo.dataset.table import SampleTable
from pneumo.distributed.world import World
from pneumo.inference.build import build
from pneumo.inference.out_of_fold import predict_histograms
from pneumo.training import run_start
from pneumo.training.fold_results import publish_fold
from pneumo.training.recipe import Recipe
from pneumo.training.recipes import debug
from pneumo.training.run_directory import DatasetIdentity, RunDirectory


def tiny_recipe() -> Recipe:
    recipe = debug()
    model = replace(recipe.model, encoder=TINY, encoder_weights="none", decoder_channels=TINY_DECODER)
    return replace(recipe, model=model, epochs=(1,), image_size=(32,))


def finish_folds(
    path: Path,
    dataset: Path,
    world: World,
    recipe: Recipe | None = None,
    seed: int = 0,
    excluded: Mapping[str, str] | None = None,
) -> RunDirectory:
    """Make a run on a dataset without the excluded images, with every fold's files in place."""
    recipe, excluded = recipe or tiny_recipe(), dict(excluded or {})
    reader = ShardReader(dataset, SampleTable.read(dataset)).exclude(excluded)
    manifest = Manifest.read(dataset)
    run = run_start.create(path, recipe, DatasetIdentity.of(manifest, excluded))
    torch.manual_seed(seed)
    for fold in range(manifest.num_folds):
        loader, predictor = build(recipe.inference, reader, world.device, workers=1)
        rows = reader.table.select("train", {fold})
        limit = recipe.min_component
        histograms = predict_histograms(predictor, loader, reader, rows, world, min_component=limit)
        assert histograms is not None
        publish_fold(run.fold(fold), predictor.network, histograms, [])
    return run
