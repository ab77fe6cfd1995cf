"""A comparison: the variants of a file, trained on the same folds with the same seeds, into one table.

::

    COMPARISON/
        comparison.json        scores, differences and what they were measured on   (after each variant)
        comparison.md          the table of it
        runs/NAME-seed-S/      an ordinary run of each variant and seed (``run_directory``), its folds alone
        logs/

All runs are trained by the same processes, one after another. One that is finished is only read; one that was
interrupted goes on from its last checkpoint.
"""

import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import torch

from pneumo import __version__
from pneumo.dataset import paths
from pneumo.dataset.manifest import Manifest
from pneumo.distributed import heartbeat
from pneumo.distributed.device import describe as describe_device
from pneumo.distributed.stopping import StopFlag
from pneumo.distributed.watchdog import Watchdog
from pneumo.distributed.world import World
from pneumo.inference import comparison
from pneumo.inference.bootstrap import RESAMPLES
from pneumo.inference.comparison import Comparison, ScoredRun, ScoredVariant
from pneumo.inference.histograms import concatenate
from pneumo.inference.paired import RunPredictions, score_variants
from pneumo.modeling import encoders
from pneumo.reporting import comparison_table
from pneumo.runtime import log_file
from pneumo.runtime.console import format_seconds, log
from pneumo.runtime.errors import UserError, counted
from pneumo.runtime.files import check_writable
from pneumo.runtime.machine import processor_name
from pneumo.runtime.recorded import check_recorded, publish_recorded
from pneumo.training import run_directory, run_start
from pneumo.training.cross_validation import train_folds
from pneumo.training.fold_results import read_fold_histograms, read_history
from pneumo.training.inputs import TrainingInputs
from pneumo.training.local_dataset import local_dataset
from pneumo.training.locking import exclusive_locks
from pneumo.training.loop import LoopOptions
from pneumo.training.recipe import Recipe
from pneumo.training.resolution import first_weights, resolve_auto
from pneumo.training.run_directory import DatasetIdentity, RunDirectory
from pneumo.training.run_metrics import caveats
from pneumo.training.variants import Variant

RUNS = "runs"
DOCUMENT = "comparison.json"
TABLE = "comparison.md"
WRITTEN = (RUNS, DOCUMENT, TABLE, log_file.DIRECTORY)
"""Names of what is written into the directory of a comparison."""


@dataclass(frozen=True, kw_only=True)
class ComparisonInputs:
    """What a comparison is given."""

    variants: Sequence[Variant]
    seeds: Sequence[int]
    dataset: Path
    out: Path
    folds: tuple[int, ...]
    """Empty = all of the dataset's."""
    options: LoopOptions
    skip_damaged: bool

    def run_path(self, variant: Variant, seed: int) -> Path:
        """Return the directory of a run."""
        return self.out / RUNS / f"{variant.name}-seed-{seed}"

    def training(self, variant: Variant, seed: int) -> TrainingInputs:
        """Return what is trained for a run.

        Raises:
            UserError: When the options do not suit the variant.
        """
        return TrainingInputs(
            recipe=variant.seeded(seed),
            dataset=self.dataset,
            run=self.run_path(variant, seed),
            folds=self.folds,
            expected=None,
            options=self.options,
            skip_damaged=self.skip_damaged,
        )


def compare(inputs: ComparisonInputs, world: World, stop: StopFlag) -> None:
    """Train what is not trained yet, and write the table after each variant. Collective.

    Raises:
        StopRequested: When the ranks agreed to stop; the same command goes on.
        UserError: When a variant, a run that is there or the dataset does not match.
        RankLost: When a rank that this one depends on is lost.
    """
    with Watchdog(world.meeting, world.rank_timeout_s) as watchdog:
        with stop.raising("the start"):
            world.on_leader(inputs.options.cache.check)
            world.on_leader(lambda: _check_out(inputs.out))
            first_run = inputs.run_path(inputs.variants[0], inputs.seeds[0])
            dataset = local_dataset(inputs.dataset, inputs.options.cache.directory, world, first_run)
            manifest = world.on_leader(lambda: Manifest.read(dataset))
            folds = tuple(sorted(inputs.folds)) or tuple(range(manifest.num_folds))
            inputs = replace(inputs, dataset=dataset, folds=folds)
            _check_variants(inputs, manifest, world)
        lock = (inputs.out / run_directory.LOCK_FILE, f"--out {inputs.out}")
        with exclusive_locks([lock] if world.is_leader else [], world):
            log_file.start(inputs.out, "compare", f"rank-{world.rank}")
            _train_and_score(inputs, manifest, world, stop, watchdog)


def _check_out(out: Path) -> None:
    """Refuse a directory whose files would be replaced."""
    if (out / run_directory.RECIPE_FILE).exists() or paths.manifest(out).exists():
        raise UserError(f"--out {out} is a run or a dataset", "a new or empty directory", "give another --out")
    check_writable(out)
    for name in (DOCUMENT, TABLE):
        check_recorded("--out", out / name)


def _check_variants(inputs: ComparisonInputs, manifest: Manifest, world: World) -> None:
    """Refuse, before hours of work, a variant that cannot be trained here, or whose runs are of something else."""
    identity, known = DatasetIdentity.of(manifest, {}), set()
    for variant in inputs.variants:
        try:
            encoders.validate(variant.recipe.model.encoder)
            resolve_auto(variant.recipe, world.device)
            trainings = [inputs.training(variant, seed) for seed in inputs.seeds]
            is_new = world.on_leader(partial(_has_new, trainings, identity))
            if is_new and variant.recipe.model not in known:
                known.add(variant.recipe.model)
                world.on_leader(partial(first_weights, variant.recipe))
        except UserError as error:
            raise UserError(f"{variant.where}: {error.found}", error.expected, _action(error)) from error


def _has_new(trainings: Sequence[TrainingInputs], identity: DatasetIdentity) -> bool:
    """Return whether one of the runs has not begun; refuse one that is there with another recipe or dataset."""
    return None in [run_start.find(training.run, training.recipe, identity) for training in trainings]


def _action(error: UserError) -> str:
    """Return what to do about an error of a run, whose directory follows from the variant's name."""
    return error.action.replace("another --run", "the variant another name")


@dataclass
class _Outlook:
    """How long the runs that are left will take, by those that this process has trained.

    A run's time is taken as proportional to its epochs times the pixels of its images.
    """

    work: float = 0.0
    seconds: float = 0.0

    def add(self, recipe: Recipe, seconds: float) -> None:
        self.work, self.seconds = self.work + _work(recipe), self.seconds + seconds

    def describe(self, left: Sequence[Recipe]) -> str:
        if not self.work:
            return ""
        seconds = self.seconds / self.work * sum(map(_work, left))
        return f"; about {format_seconds(seconds)} left, by the runs so far"


def _work(recipe: Recipe) -> float:
    return float(sum(stage.epochs * stage.image_size**2 for stage in recipe.stages))


@dataclass
class _Scored:
    """What the leader knows of the variants that are finished."""

    predictions: list[list[RunPredictions]] = field(default_factory=list)
    variants: list[ScoredVariant] = field(default_factory=list)
    runs: list[RunDirectory] = field(default_factory=list)
    """The first of each variant."""


def _train_and_score(
    inputs: ComparisonInputs, manifest: Manifest, world: World, stop: StopFlag, watchdog: Watchdog
) -> None:
    planned = [(variant, seed) for variant in inputs.variants for seed in inputs.seeds]
    finished = world.on_leader(lambda: [_is_finished(inputs, *each) for each in planned])
    outlook, scored = _Outlook(), _Scored()
    for number, (variant, seed) in enumerate(planned):
        if not finished[number]:
            if world.is_leader:
                left = [v.recipe for (v, _), done in zip(planned[number:], finished[number:], strict=True) if not done]
                place = inputs.variants.index(variant) + 1, len(inputs.variants)
                text = "run %d of %d: variant %s (%d of %d), seed %d%s"
                log.info(text, number + 1, len(planned), variant.name, *place, seed, outlook.describe(left))
            begin = time.monotonic()
            train_folds(inputs.training(variant, seed), world, stop, watchdog)
            outlook.add(variant.recipe, time.monotonic() - begin)
            if variant.recipe.compile:
                # torch compiles a network of the same code only so many times.
                torch.compiler.reset()
        is_due = number + 1 == len(planned) or not all(finished[: number + 1])
        if seed == inputs.seeds[-1]:
            heartbeat.touch(f"scoring variant {variant.name}")
            with stop.raising("the table"):
                world.on_leader(partial(_score, inputs, variant, scored))
                if is_due:
                    world.on_leader(partial(_write, inputs, manifest, scored, _describe_hardware(world)))
    if world.is_leader:
        log.info("wrote %s:\n%s", inputs.out / TABLE, (inputs.out / TABLE).read_text(encoding="utf-8"))


def _is_finished(inputs: ComparisonInputs, variant: Variant, seed: int) -> bool:
    path = inputs.run_path(variant, seed)
    if not (path / run_directory.RECIPE_FILE).is_file():
        return False
    run = run_directory.load(path)
    return all(run.fold(fold).is_finished for fold in inputs.folds)


def _score(inputs: ComparisonInputs, variant: Variant, scored: _Scored) -> None:
    """Read the predictions of a variant's runs.

    Raises:
        UserError: When they are not of the images of the runs before.
    """
    predictions: list[RunPredictions] = []
    directories: list[RunDirectory] = []
    runs: list[ScoredRun] = []
    for seed in inputs.seeds:
        run = run_directory.load(inputs.run_path(variant, seed))
        found = RunPredictions.of(concatenate([read_fold_histograms(run.fold(fold), fold) for fold in inputs.folds]))
        first = scored.predictions[0][0] if scored.predictions else predictions[0] if predictions else found
        if not found.has_same_images(first):
            raise UserError(
                f"{run.path} has other images than {(scored.runs or directories)[0].path}:"
                f" {counted(len(found.image_id), 'image')} and {len(first.image_id)}",
                "runs on the same images; those that exclude damaged ones exclude the same",
                "remove the run, or compare it under another --out",
            )
        predictions.append(found)
        directories.append(run)
        runs.append(_scored_run(run, seed, inputs.folds, found))
    scored.predictions.append(predictions)
    scored.runs.append(directories[0])
    scored.variants.append(ScoredVariant(name=variant.name, flags=variant.flags, runs=runs))


def _scored_run(run: RunDirectory, seed: int, folds: Sequence[int], predictions: RunPredictions) -> ScoredRun:
    epochs = [entry for fold in folds for entry in read_history(run.fold(fold))]
    return ScoredRun(
        run=str(run.path),
        seed=seed,
        dice=float(predictions.dice.mean()),
        auc=predictions.auc,
        seconds=sum(entry.get("train_s", 0.0) + entry.get("validation_s", 0.0) for entry in epochs),
    )


def _write(inputs: ComparisonInputs, manifest: Manifest, scored: _Scored, hardware: str) -> None:
    first = scored.predictions[0][0]
    images, positives = len(first.image_id), int(first.positive.sum())
    scores = score_variants(scored.predictions)
    found = Comparison(
        pneumo=__version__,
        command=shlex.join(["job/compare.py", *sys.argv[1:]]),
        hardware=hardware,
        dataset_digest=manifest.samples_digest,
        folds_digest=manifest.folds_digest,
        num_folds=manifest.num_folds,
        folds=list(inputs.folds),
        seeds=list(inputs.seeds),
        images=images,
        positives=positives,
        patients=int(first.patient.max()) + 1,
        dice_all_empty=float((~first.positive).mean()),
        bootstrap_resamples=RESAMPLES,
        variants=[replace(v, scores=s) for v, s in zip(scored.variants, scores, strict=True)],
        unfinished=[variant.name for variant in inputs.variants[len(scored.variants) :]],
        caveats=_caveats(scored, manifest, positives),
    )
    comparison.write(inputs.out / DOCUMENT, found)
    publish_recorded(inputs.out / TABLE, comparison_table.describe(found))


def _caveats(scored: _Scored, manifest: Manifest, positives: int) -> list[str]:
    """Return the caveats of the runs, those that not all variants have with the variants' names."""
    names: dict[str, list[str]] = {}
    for variant, run in zip(scored.variants, scored.runs, strict=True):
        # All images of the dataset, also where some folds alone are compared.
        for text in caveats(run, manifest.train - len(run.dataset.excluded), positives):
            names.setdefault(text, []).append(variant.name)
    every = len(scored.variants)
    return [text if len(those) == every else f"{', '.join(those)}: {text}" for text, those in names.items()]


def _describe_hardware(world: World) -> str:
    device = describe_device(world.device)
    name = processor_name() if device == "cpu" else device
    return f"{counted(world.size, 'process', 'processes')}, each {name} with {counted(world.cores, 'core')}"
