"""The networks of finished runs and of exported models, with the settings that they were trained with."""

from collections.abc import Sequence
from dataclasses import replace

from pneumo.dataset.shard_reader import ShardReader
from pneumo.distributed.world import World
from pneumo.inference.blend import normalize_weights
from pneumo.inference.config import InferenceConfig, LoaderOverride, PrecisionOverride
from pneumo.inference.network_mean import EnsembledRun, NetworkMean
from pneumo.modeling.trained_weights import TrainedWeights
from pneumo.runtime.console import log
from pneumo.training.exported_model import ExportedModel
from pneumo.training.fold_results import trained_weights
from pneumo.training.run_directory import RunDirectory

LESS_MEMORY = (
    "a batch of 8 images and the network",
    "end other processes on the same device; or run job/ensemble.py or job/predict.py with --loader opencv, with"
    " --precision bf16 (fp16 on a GPU without it), or on the CPU with CUDA_VISIBLE_DEVICES=",
)
"""What needs the memory when a finished run predicts, and what to do when there is too little."""


def build_mean(
    runs: Sequence[RunDirectory | ExportedModel],
    weights: Sequence[float] = (),
    *,
    reader: ShardReader,
    world: World,
    workers: int,
    loader: LoaderOverride = "recipe",
    precision: PrecisionOverride = "recipe",
) -> NetworkMean:
    """Build the mean of the networks of finished runs.

    Args:
        runs: Finished runs, or exported models.
        weights: Weight of each run in the mean, above 0; equal when empty.
        reader: The dataset whose images are predicted.
        world: The ranks that share the images.
        workers: Threads of the loaders.
        loader: A loader instead of that of each run's recipe.
        precision: A precision instead of that of each run's recipe.

    Raises:
        UserError: When a fold.json cannot be read.
    """
    # Other ranks may have written the folds a moment ago.
    trained = world.on_leader(lambda: [_fold_weights(run) for run in runs])
    ensembled = [
        EnsembledRun(config=_override(run, loader, precision), weights=fold_weights, weight=weight)
        for run, fold_weights, weight in zip(runs, trained, normalize_weights(len(runs), weights), strict=True)
    ]
    return NetworkMean(ensembled, reader=reader, world=world, workers=workers)


def smallest_component(runs: Sequence[RunDirectory | ExportedModel], at_least: float = 0.0) -> float:
    """Return the smallest component that is kept in masks of the runs' mean, in pixels of a 1024x1024 image.

    It is the largest of the recipes' limits and of a flag's.
    """
    return max(at_least, *(run.recipe.min_component for run in runs))


def _fold_weights(run: RunDirectory | ExportedModel) -> tuple[TrainedWeights, ...]:
    return run.weights if isinstance(run, ExportedModel) else trained_weights(run)


def _override(
    run: RunDirectory | ExportedModel, loader: LoaderOverride, precision: PrecisionOverride
) -> InferenceConfig:
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
