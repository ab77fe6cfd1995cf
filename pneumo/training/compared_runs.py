"""What a comparison writes: the scores of runs that are there, as comparison.json and as the table comparison.md."""

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pneumo import __version__
from pneumo.dataset import paths
from pneumo.distributed.device import describe as describe_device
from pneumo.distributed.world import World
from pneumo.inference import comparison_json, metrics
from pneumo.inference.bootstrap import RESAMPLES
from pneumo.inference.comparison_json import Comparison, ScoredRun, ScoredVariant
from pneumo.inference.histograms import concatenate
from pneumo.inference.metrics import Metrics
from pneumo.inference.paired import RunPredictions, score_variants
from pneumo.reporting import comparison_table
from pneumo.runtime.console import log
from pneumo.runtime.errors import UserError, counted
from pneumo.runtime.files import check_writable
from pneumo.runtime.machine import processor_name
from pneumo.runtime.recorded import check_recorded, publish_recorded
from pneumo.training import run_directory
from pneumo.training.fold_results import read_fold_histograms, read_history
from pneumo.training.run_directory import RunDirectory
from pneumo.training.run_metrics import caveats
from pneumo.training.variants import DOCUMENT, RESULTS, TABLE


def check_out(out: Path) -> None:
    """Refuse a directory whose files would be replaced.

    Raises:
        UserError: When it is a run or a dataset, cannot be written to, or a person has changed the results there.
    """
    if (out / run_directory.RECIPE_FILE).exists() or paths.manifest(out).exists():
        raise UserError(f"--out {out} is a run or a dataset", "a new or empty directory", "give another --out")
    check_writable(out)
    for name in RESULTS:
        check_recorded("--out", out / name)


@dataclass
class ComparedRuns:
    """Collects the runs of the variants, the first of which the others are compared with.

    Only the leader of several ranks does.
    """

    out: Path
    folds: Sequence[int]
    """Folds that are scored, ascending."""
    hardware: str
    labeled: int | None = None
    """Labeled images of the dataset; None = not known, unless all folds are scored."""
    _predictions: list[list[RunPredictions]] = field(default_factory=list)
    _variants: list[ScoredVariant] = field(default_factory=list)
    _runs: list[list[RunDirectory]] = field(default_factory=list)

    def add(self, name: str, flags: str, runs: Sequence[RunDirectory]) -> None:
        """Read the predictions of a variant's runs, one for each seed, and score them.

        Raises:
            UserError: When a run is of another dataset than those before, has other folds or images, or a file of it
                is damaged.
        """
        predictions: list[RunPredictions] = []
        scored = []
        first = self._runs[0][0] if self._runs else runs[0]
        for run in runs:
            check_dataset(run, first)
            parts = [read_fold_histograms(run.fold(fold), fold) for fold in self.folds]
            predictions.append(RunPredictions.of(concatenate(parts), self._recorded(run), run.metrics))
            _check_images(run, predictions[-1], first, (self._predictions or [predictions])[0][0])
            scored.append(self._score(run, predictions[-1]))
        self._predictions.append(predictions)
        trained_as = self._trained_as(runs)
        self._variants.append(ScoredVariant(name=name, flags=flags, runs=scored, networks_of=trained_as))
        self._runs.append(list(runs))

    def _trained_as(self, runs: Sequence[RunDirectory]) -> str:
        """Return the earlier variant that was trained with these runs: the times of all epochs are the same."""
        for variant, earlier in zip(self._variants, self._runs, strict=True):
            if self._histories(earlier) == self._histories(runs):
                return variant.name
        return ""

    def _histories(self, runs: Sequence[RunDirectory]) -> list[list[dict[str, Any]]]:
        return [read_history(run.fold(fold)) for run in runs for fold in self.folds]

    def write(self, unfinished: Sequence[str] = ()) -> None:
        """Publish the table of the variants so far.

        Args:
            unfinished: Names of the variants that are still to be trained.
        """
        dataset, first = self._runs[0][0].dataset, self._predictions[0][0]
        found = Comparison(
            pneumo=__version__,
            command=shlex.join(["job/compare.py", *sys.argv[1:]]),
            hardware=self.hardware,
            dataset_digest=dataset.digest,
            folds_digest=dataset.folds_digest,
            num_folds=dataset.num_folds,
            folds=list(self.folds),
            seeds=sorted({run.recipe.seed for runs in self._runs for run in runs}),
            images=len(first.image_id),
            positives=int(first.positive.sum()),
            patients=int(first.patient.max()) + 1,
            dice_all_empty=float((~first.positive).mean()),
            bootstrap_resamples=RESAMPLES,
            variants=[
                replace(variant, scores=scores)
                for variant, scores in zip(self._variants, score_variants(self._predictions), strict=True)
            ],
            unfinished=list(unfinished),
            caveats=self._caveats(),
        )
        comparison_json.write(self.out / DOCUMENT, found)
        publish_recorded(self.out / TABLE, comparison_table.describe(found))

    def log_table(self) -> None:
        """Print the table as it was written."""
        log.info("wrote %s:\n%s", self.out / TABLE, (self.out / TABLE).read_text(encoding="utf-8"))

    def _recorded(self, run: RunDirectory) -> Metrics | None:
        """Return the run's own metrics, unless it has none yet, or was scored on other folds than are compared."""
        is_whole = len(self.folds) == run.dataset.num_folds
        return metrics.read(run.metrics) if is_whole and run.metrics.is_file() else None

    def _score(self, run: RunDirectory, predictions: RunPredictions) -> ScoredRun:
        epochs = [entry for fold in self.folds for entry in read_history(run.fold(fold))]
        return ScoredRun(
            run=str(run.path),
            seed=run.recipe.seed,
            dice=float(predictions.dice.mean()),
            auc=predictions.auc,
            seconds=sum(entry.get("train_s", 0.0) + entry.get("validation_s", 0.0) for entry in epochs),
        )

    def _caveats(self) -> list[str]:
        """Return the caveats of the runs, those that not all variants have with the variants' names."""
        names: dict[str, list[str]] = {}
        for variant, (run, *_), (first, *_) in zip(self._variants, self._runs, self._predictions, strict=True):
            for text in metrics.other_removal(first.min_component, run.recipe.min_component):
                names.setdefault(text, []).append(variant.name)
            if self.labeled is not None:
                images = self.labeled - len(run.dataset.excluded)
            elif len(self.folds) == run.dataset.num_folds:
                images = len(first.image_id)
            else:
                # Whether any two images are of one patient is not known then.
                continue
            for text in caveats(run, images, int(first.positive.sum())):
                names.setdefault(text, []).append(variant.name)
        every = len(self._variants)
        return [text if len(those) == every else f"{', '.join(those)}: {text}" for text, those in names.items()]


def describe_hardware(world: World) -> str:
    """Return what the ranks compute on, in words."""
    device = describe_device(world.device)
    name = processor_name() if device == "cpu" else device
    return f"{counted(world.size, 'process', 'processes')}, each {name} with {counted(world.cores, 'core')}"


def check_dataset(run: RunDirectory, first: RunDirectory) -> None:
    """Refuse a run of another dataset, or of other folds, than the first one's."""
    for name, what in (("digest", "dataset"), ("folds_digest", "assignment of images to folds")):
        if getattr(run.dataset, name) != getattr(first.dataset, name):
            raise UserError(
                f"{run.path} was trained on another {what} than {first.path}",
                "runs on the same dataset and folds: no other differences are paired",
                "leave one out, or train it on the dataset of the other",
            )


def _check_images(run: RunDirectory, found: RunPredictions, first: RunDirectory, expected: RunPredictions) -> None:
    if not found.has_same_images(expected):
        counts = f"{counted(len(found.image_id), 'image')} and {len(expected.image_id)}"
        raise UserError(
            f"{run.path} has other images than {first.path}: {counts}",
            "runs on the same images; those that exclude damaged ones exclude the same",
            "leave one out, or train it on the images of the other",
        )
