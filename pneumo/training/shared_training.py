"""Runs that share their training: recipes that differ only in how the trained networks predict.

The weights of a run do not depend on its test-time augmentation, nor on the small components that masks lose: the
validations during training know neither. So another run of the same training has the same networks, and only their
predictions of the folds' own images are made again: it is an ordinary run then, as if it had been trained.
"""

from dataclasses import replace
from functools import partial

from pneumo.dataset.manifest import Manifest
from pneumo.distributed import heartbeat
from pneumo.distributed.device_memory import explain_out_of_memory, release_memory
from pneumo.distributed.world import World
from pneumo.inference.build import build
from pneumo.inference.out_of_fold import predict_histograms
from pneumo.runtime.console import log
from pneumo.training.cross_validation import open_run
from pneumo.training.ensemble import LESS_MEMORY
from pneumo.training.fold_results import publish_fold, read_history, trained_fold
from pneumo.training.inputs import TrainingInputs
from pneumo.training.locking import exclusive_locks
from pneumo.training.recipe import Recipe
from pneumo.training.run_directory import RunDirectory

WITHOUT_EFFECT = ("name", "tta", "min_component")
"""Fields of a recipe that no weight of a network depends on."""


def has_same_training(one: Recipe, other: Recipe) -> bool:
    """Return whether two recipes train the same networks."""
    return replace(one, **{name: getattr(other, name) for name in WITHOUT_EFFECT}) == other


def predict_again(training: TrainingInputs, source: RunDirectory, world: World) -> None:
    """Make a run of the networks of another one, whose folds are trained. Collective.

    Args:
        training: The run; its recipe has the same training, and so have its dataset and its folds.
        source: The run that was trained.
        world: The ranks that share the images.

    Raises:
        UserError: When a file of the source is damaged, or another process works on the run.
    """
    manifest = world.on_leader(lambda: Manifest.read(training.dataset))
    run, reader, folds, _ = open_run(training, training.dataset, manifest, world)
    left = world.on_leader(lambda: [fold for fold in folds if not run.fold(fold).is_finished])
    locks = [(run.fold(fold).lock, f"fold {fold} of {run.path}") for fold in left] if world.is_leader else []
    with exclusive_locks(locks, world), explain_out_of_memory(*LESS_MEMORY):
        loader, predictor = build(run.recipe.inference, reader, world.device, workers=training.options.workers)
        for fold in left:
            heartbeat.touch(f"fold {fold}: predicting its images")
            weights = world.on_leader(partial(trained_fold, source.fold(fold)))
            weights.load(predictor.network, weights.read())
            rows = reader.table.select("train", {fold})
            limit = run.recipe.min_component
            histograms = predict_histograms(predictor, loader, reader, rows, world, min_component=limit)
            if histograms is not None:
                run.fold(fold).remove_temporary_files()
                history = read_history(source.fold(fold))
                publish_fold(run.fold(fold), predictor.network, histograms, history)
                log.info("fold %d has the network of %s: %s", fold, source.path, run.fold(fold).path)
            world.barrier()
    del loader, predictor
    release_memory()
