"""New images, from their files to the results: what job/predict.py does with a finished run or an exported model.

The images pass through shards in a hidden directory of ``--out``, which no signal leaves behind; the results are
published together, at the end.
"""

import shutil
import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pneumo.dataset import field_of_view, incoming, oddities
from pneumo.dataset.incoming import IncomingImages
from pneumo.dataset.limits import Limits
from pneumo.dataset.manifest import IdSource
from pneumo.dataset.options import BuildInputs, BuildOptions
from pneumo.dataset.shard_reader import ShardReader
from pneumo.distributed.world import World
from pneumo.inference import metrics
from pneumo.inference.config import LoaderOverride, PrecisionOverride
from pneumo.inference.decision_rule import read_rule
from pneumo.inference.ensembler import Ensembler, ImagePrediction
from pneumo.inference.verdict import judge
from pneumo.reporting.outputs.context import OutputContext
from pneumo.reporting.outputs.output_set import OutputSet
from pneumo.runtime import log_file, result_directory
from pneumo.runtime.console import log
from pneumo.runtime.errors import counted
from pneumo.runtime.files import publish_text, remove_temporary_files
from pneumo.runtime.scratch import scratch_directory
from pneumo.training import exported_model
from pneumo.training.ensemble import build_mean, smallest_component
from pneumo.training.exported_model import ExportedModel
from pneumo.training.locking import exclusive_locks
from pneumo.training.run_directory import RunDirectory
from pneumo.training.run_metrics import finish_run

TRIAL_RECIPES = ("demo", "debug")
"""Small networks, for synthetic images."""
SCRATCH = "shards"
"""Part of the name of the hidden directory with the images that are predicted, and the results until they are whole."""


@dataclass(frozen=True, kw_only=True)
class NewImages:
    """The images, where the results go, and how they are predicted; job/predict.py's flags say more of each."""

    dicom: Path
    """File, zip archive or directory."""
    out: Path
    """Directory of the results."""
    id: IdSource
    """What the ids of the results are."""
    include_non_frontal: bool
    """Whether images that are no frontal chest X-rays by their header are predicted too."""
    outputs: Sequence[str]
    """Names of ``reporting.outputs.registry``."""
    all_overlays: bool
    """Whether images without a mask get a picture too."""
    min_component: float
    """Smallest connected component that is kept, in pixels of a 1024x1024 image, if it is more than the recipe's."""
    loader: LoaderOverride
    """Loader of the images."""
    precision: PrecisionOverride
    """Precision of the networks."""
    limits: Limits
    """What one file may take."""
    workers: int
    """Threads and processes that read and decode."""


def open_exported(path: Path) -> ExportedModel:
    """Load an exported model that can predict; refuse another one now, and not after all images are read.

    Raises:
        UserError: When it is not whole, or its decision rule cannot be read.
    """
    model = exported_model.load(path)
    read_rule(model.thresholds)
    return model


def predict(new: NewImages, model: RunDirectory | ExportedModel, world: World) -> None:
    """Read the images, predict them, publish the results, and print how many files became predictions.

    Raises:
        UserError: When there is no image to predict, or a result cannot be written; the others are.
    """
    for name in (SCRATCH, result_directory.RECORD):
        remove_temporary_files(new.out, name)
    with scratch_directory(new.out, SCRATCH) as scratch:
        images = _read_images(new, scratch / "dataset")
        with closing(images.reader) as reader:
            if not images.problem:
                log.info("read %s, starting the networks", counted(len(reader.table.select("test")), "image"))
            ensembler = None if images.problem else _build_ensembler(new, model, reader, world)
            cautions = [] if ensembler is None else _cautions(model, ensembler.min_component)
            for caution in cautions:
                log.warning("%s: %s", model.path, caution)
            context = OutputContext(
                reader=reader,
                sources=images.sources,
                lists=images.lists,
                account=images.account,
                model=str(model.path),
                rule="" if ensembler is None else ensembler.rule.describe(),
                all_overlays=new.all_overlays,
                cautions=cautions,
            )
            for row in np.flatnonzero(field_of_view.is_too_small(reader.table)).tolist():
                context.notes[str(reader.table.image_id[row])].append(field_of_view.note(reader.table, row))
            results = scratch / "results"
            outputs = OutputSet(results, new.outputs, context)
            rows = reader.table.select("test")
            predictions = [] if ensembler is None else ensembler.run(rows, outputs.add, what="predicting")
        # The images are deleted first: where pictures have filled the disk, the tables then have space.
        shutil.rmtree(scratch / "dataset", ignore_errors=True)
        outputs.close()
        for name, text in images.lists.items():
            publish_text(results / name, text)
        result_directory.publish(results, new.out)
    # Not before: a prediction that is stopped leaves no name of a file.
    log_file.start(new.out, "predict")
    outputs.raise_first_error()
    if images.problem is not None:
        raise images.problem
    _print_counts(new.out, images, predictions, context.rule)


def _read_images(new: NewImages, dataset: Path) -> IncomingImages:
    """Read the images, and warn about odd ones."""
    # The directory may hold files of any kind; every X-ray among them must be predicted.
    options = BuildOptions(
        workers=new.workers,
        max_quarantined=100,
        include_non_frontal=new.include_non_frontal,
        limits=new.limits,
    )
    images = incoming.read_images(BuildInputs(dicom=new.dicom, id=new.id), options, dataset, out=new.out)
    for line in oddities.describe(images.reader.table):
        log.warning("%s", line)
    return images


def _cautions(model: RunDirectory | ExportedModel, min_component: float) -> list[str]:
    """Return what readers of the predictions must know of the networks, and of the masks' small components."""
    found = []
    if model.recipe.name in TRIAL_RECIPES:
        found.append(
            f"Trained by the recipe {model.recipe.name}, which is for trying pneumo out: expect nothing of these"
            " networks on real X-rays."
        )
    if model.metrics.is_file():
        of_model = metrics.read(model.metrics)
        verdict = judge(of_model)
        found += [f"On labeled images: {verdict.text}"] * (verdict.standing != "better")
        removal = metrics.other_removal(of_model.min_component, min_component)
        found += [f"Small components: {text}." for text in removal]
    return found


def _build_ensembler(
    new: NewImages, model: RunDirectory | ExportedModel, reader: ShardReader, world: World
) -> Ensembler:
    """Build the mean of the networks with the decision rule, which is chosen now if no process has done so."""
    if isinstance(model, RunDirectory) and not model.thresholds.is_file():
        with exclusive_locks([(model.lock, str(model.path))], world):
            finish_run(model, world, reader, workers=new.workers)
    mean = build_mean(
        [model],
        reader=reader,
        world=world,
        workers=new.workers,
        loader=new.loader,
        precision=new.precision,
    )
    smallest = smallest_component([model], new.min_component)
    return Ensembler(mean, read_rule(model.thresholds), min_component=smallest)


def _print_counts(out: Path, images: IncomingImages, predictions: Sequence[ImagePrediction], rule: str) -> None:
    """Log how many images are positive, and print what each file became."""
    positive = sum(prediction.mask_area > 0 for prediction in predictions)
    log.info("%s: positive are %d of %s; the rule: %s", out, positive, counted(len(predictions), "image"), rule)
    sys.stdout.write(f"{images.account}\n")
