"""What is checked of all variants before the first of them is trained, so that no mistake is found after hours."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from pneumo.dataset.manifest import Manifest
from pneumo.dataset.table import SampleTable
from pneumo.modeling import encoders
from pneumo.modeling.config import ModelConfig
from pneumo.runtime.errors import UserError
from pneumo.training import run_start
from pneumo.training.comparison_inputs import ComparisonInputs
from pneumo.training.inputs import check_unlabeled
from pneumo.training.resolution import first_weights, resolve_auto
from pneumo.training.run_directory import DatasetIdentity
from pneumo.training.teacher import open_teacher
from pneumo.training.variants import Variant, refuse


def check_recipes(inputs: ComparisonInputs, device: torch.device) -> None:
    """Refuse at once, before anything is read, all variants that cannot be trained on this device."""
    mistakes: list[UserError] = []
    for variant in inputs.variants:
        with _collecting(variant, mistakes):
            encoders.validate(variant.recipe.model.encoder)
            resolve_auto(variant.recipe, device)
            inputs.training(variant, inputs.seeds[0])
    refuse(mistakes)


def check_runs(inputs: ComparisonInputs, manifest: Manifest) -> None:
    """Refuse at once, before hours of work, all variants whose runs are of something else, or cannot begin."""
    mistakes: list[UserError] = []
    known: set[ModelConfig] = set()
    for variant in inputs.variants:
        with _collecting(variant, mistakes):
            _check_run(inputs, variant, manifest, known)
    refuse(mistakes)


@contextmanager
def _collecting(variant: Variant, mistakes: list[UserError]) -> Iterator[None]:
    """Add the mistake that is found in a variant, if one is."""
    try:
        yield
    except UserError as error:
        # The directory of a run follows from the variant's name.
        action = error.action.replace("another --run", "the variant another name")
        mistakes.append(UserError(f"{variant.where}: {error.found}", error.expected, action))


def _check_run(inputs: ComparisonInputs, variant: Variant, manifest: Manifest, known: set[ModelConfig]) -> None:
    """Check the runs of a variant, its teacher, and the first weights of its networks, unless these are known."""
    identity, table = DatasetIdentity.of(manifest, {}), None
    if variant.recipe.consistency.images:
        table = SampleTable.read(inputs.dataset)
        check_unlabeled(variant.recipe, table, inputs.folds)
    is_new = False
    for training in (inputs.training(variant, seed) for seed in inputs.seeds):
        run, taught_by = run_start.find(training.run, training.recipe, identity), ""
        if training.teacher is not None:
            excluded = {} if run is None else run.dataset.all_excluded
            table = table or SampleTable.read(training.dataset)
            taught_by = open_teacher(training.teacher, table.exclude(excluded), manifest.num_folds, excluded).sha256
        if run is not None:
            run_start.compare_teacher(run, taught_by)
        is_new |= run is None
    if is_new and variant.recipe.model not in known:
        known.add(variant.recipe.model)
        first_weights(variant.recipe)
