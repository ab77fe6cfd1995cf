"""The ensemble of finished runs: their networks with the settings they were trained with, and their blended rule."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from pneumo.dataset.shard_reader import ShardReader
from pneumo.distributed.world import World
from pneumo.inference.blend import blend_rules, normalize_weights
from pneumo.inference.build import InferenceConfig, Precision
from pneumo.inference.decision_rule import read_rule
from pneumo.inference.ensembler import Ensembler
from pneumo.inference.network_mean import EnsembledRun, NetworkMean
from pneumo.loading.build import LoaderKind
from pneumo.runtime.console import log
from pneumo.training.fold_results import trained_weights
from pneumo.training.run_directory import RunDirectory

LoaderOverride = Literal["recipe", LoaderKind]
PrecisionOverride = Literal["recipe", Precision]

LESS_MEMORY = (
    "a batch of 8 images and the network",
    "end other processes on the same device; or run job/ensemble.py or job/predict.py with --loader opencv, with"
    " --precision bf16 (fp16 on a GPU without it), or on the CPU with CUDA_VISIBLE_DEVICES=",
)
"""What needs the memory when a finished run predicts, and what to do when there is too little."""


def build_ensembler(
    runs: Sequence[RunDirectory],
    weights: Sequence[float] = (),
    *,
    reader: ShardReader,
    world: World,
    workers: int,
    min_component: float = 0.0,
    loader: LoaderOverride = "recipe",
    precision: PrecisionOverride = "recipe",
) -> Ensembler:
    """Build the ensembler of finished runs.

    Args:
        runs: Finished runs.
        weights: Weight of each run in the mean, above 0; equal when empty.
        reader: The dataset whose images are predicted.
        world: The ranks that share the images.
        workers: Threads of the loaders.
        min_component: See ``Ensembler``.
        loader: A loader instead of that of each run's recipe.
        precision: A precision instead of that of each run's recipe.

    Raises:
        UserError: When a run's decision rule cannot be read.
    """
    normalized = normalize_weights(len(runs), weights)
    ensembled = [
        EnsembledRun(
            config=_override(run, loader, precision),
            weights=trained_weights(run),
            weight=weight,
        )
        for run, weight in zip(runs, normalized, strict=True)
    ]
    rule = blend_rules([read_rule(run.thresholds) for run in runs], normalized)
    mean = NetworkMean(ensembled, reader=reader, world=world, workers=workers)
    return Ensembler(mean, rule, min_component=min_component)


def _override(run: RunDirectory, loader: LoaderOverride, precision: PrecisionOverride) -> InferenceConfig:
    """Return the run's settings with those of the flags; warn where they differ from those of its decision rule."""
    recipe = run.recipe.inference
    config = replace(
        recipe,
        loader=recipe.loader if loader == "recipe" else loader,
        precision=recipe.precision if precision == "recipe" else precision,
    )
    for name in ("loader", "precision"):
        if getattr(config, name) != getattr(recipe, name):
            values = name, getattr(config, name), getattr(recipe, name)
            log.warning("%s predicts with --%s %s, but its rule was chosen with the recipe's %s", run.path, *values)
    return config
