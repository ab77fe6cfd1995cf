"""The run directory: its files, and the recipe and the dataset of its run.

    RUN/
        recipe.json            recipe, dataset, excluded images, version; fixed once a fold has begun
        metrics.json           out-of-fold metrics                            (when all folds are done)
        thresholds.json        the decision rule for new images               (when all folds are done)
        oof.parquet            histograms of every out-of-fold image          (when all folds are done)
        oof.csv                out-of-fold masks under the nested rules       (when all folds are done)
        overlay.png            out-of-fold examples                           (when all folds are done)
        submission.csv         the test images' masks                         (when the dataset has any)
        report.html            a page for people                              (last; by job/report.py at any time)
        logs/                  a log of each rank and start, see pneumo.runtime.log_file
        fold-0/
            checkpoints/       see pneumo.training.checkpoint             (until the fold is finished)
            best/              see pneumo.training.best_checkpoints       (until then, with --best-checkpoints)
            events.out.*       TensorBoard
            model.safetensors  the weights that inference uses
            oof.parquet        histograms of this fold's images
            pseudo-labels.parquet  those that the fold learns from        (with --teacher)
            fold.json          history; written last: a fold that has it is finished
            .lock              while a process trains the fold; RUN/.lock while one starts or finishes the run

``run_start`` says who may start a run, and what a second process does.
"""

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Self

from annotated_types import Interval

from pneumo import __version__
from pneumo.dataset import paths
from pneumo.dataset.manifest import Manifest
from pneumo.dataset.url import refuse_url
from pneumo.runtime import config, documents, locks, log_file
from pneumo.runtime.config import config_dataclass
from pneumo.runtime.errors import UserError
from pneumo.runtime.files import is_temporary, publish_text, remove_temporary_files
from pneumo.runtime.outputs import check_apart
from pneumo.runtime.ranges import MAX_FOLDS
from pneumo.training import checkpoint_directory
from pneumo.training.recipe import Recipe
from pneumo.training.recipe_json import add_newer_entries

FORMAT_VERSION = 3
RECIPE_FILE = paths.RUN_FILE
"""The file that makes a directory a run."""
EXPORTED_FILE = paths.MODEL_FILE
"""The file that makes a directory an exported model (``exported_model``), which is no run."""
LOCK_FILE = ".lock"


class _File:
    """A file of a directory: as an attribute of the directory it is the file's path."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, directory: "FoldDirectory | RunDirectory", owner: type) -> Path:
        return directory.path / self.name


def _names(directory: type) -> set[str]:
    return {file.name for file in vars(directory).values() if isinstance(file, _File)}


@dataclass(frozen=True)
class FoldDirectory:
    """Paths of one fold's files."""

    path: Path
    checkpoints = _File("checkpoints")
    """Directory of the fold's checkpoints."""
    best = _File("best")
    """Directory of the weights with the best scores, which are averaged (``best_checkpoints``)."""
    model = _File("model.safetensors")
    """Weights that inference uses."""
    histograms = _File("oof.parquet")
    """Histograms of the fold's own images."""
    pseudo_labels = _File("pseudo-labels.parquet")
    """Masks of unlabeled images (``pseudo_labels``); only in a run with a teacher."""
    summary = _File("fold.json")
    """Digests and history (``fold_results``); only a finished fold has it."""
    lock = _File(LOCK_FILE)
    """Held by the process that trains the fold."""

    @property
    def is_finished(self) -> bool:
        """True when the fold was trained to its end and its histograms are written."""
        return self.summary.is_file()

    @property
    def has_results(self) -> bool:
        """True when the fold is finished or has a checkpoint."""
        return self.is_finished or any(self.checkpoints.glob("step-*"))

    def require_run_directory(self) -> None:
        """Refuse to write when the run is not at its path any more, such as after its file system was unmounted.

        Raises:
            UserError: When the run's recipe.json is missing.
        """
        recipe_file = self.path.parent / RECIPE_FILE
        if not recipe_file.is_file():
            raise UserError(
                f"{recipe_file} was there when training started and is missing now",
                "the run's directory",
                "mount its file system again, or move it back, and start the same command again",
            )

    def remove_temporary_files(self) -> None:
        """Remove temporary files of killed processes. The caller holds the fold's lock."""
        remove_temporary_files(self.path)
        checkpoint_directory.prune(self.checkpoints)

    def remove_checkpoints(self) -> None:
        """Remove the checkpoints of a finished fold, whose weights and histograms are in place."""
        # A failed deletion wastes disk space, but must not end training.
        for directory in (self.checkpoints, self.best):
            shutil.rmtree(directory, ignore_errors=True)


@config_dataclass
class DatasetIdentity:
    """The dataset that a run belongs to."""

    digest: str
    """Digest of the dataset's samples."""
    folds_digest: str
    """Digest of the assignment of samples to folds."""
    num_folds: Annotated[int, Interval(ge=1, le=MAX_FOLDS)]
    """Number of folds."""
    grouped_by: str
    """Where the patients come from whose images share a fold: ``patients csv``, ``dicom`` or ``none``."""
    patients: int
    """Number of patients; without patients, the number of images."""
    excluded: dict[str, str] = field(default_factory=dict)
    """Damaged labeled images that the run excludes, each with what was found. Fixed when the run is started."""
    excluded_unlabeled: dict[str, str] = field(default_factory=dict)
    """Likewise images without a label, which are never scored."""

    @classmethod
    def of(
        cls, manifest: Manifest, excluded: Mapping[str, str], excluded_unlabeled: Mapping[str, str] | None = None
    ) -> Self:
        """Return the identity of a dataset without its excluded images."""
        return cls(
            digest=manifest.samples_digest,
            folds_digest=manifest.folds_digest,
            num_folds=manifest.num_folds,
            grouped_by=manifest.grouped_by,
            patients=manifest.patients,
            excluded=dict(excluded),
            excluded_unlabeled=dict(excluded_unlabeled or {}),
        )

    @property
    def all_excluded(self) -> dict[str, str]:
        """All images that the run excludes."""
        return self.excluded | self.excluded_unlabeled


@config_dataclass
class _Record:
    """Content of recipe.json."""

    pneumo: str
    """Version of pneumo that started the run."""
    recipe: Recipe
    """With the precision and the loader that ``auto`` was when the run was started."""
    dataset: DatasetIdentity
    encoder_sha256: str
    """Digest of the encoder's first weights; empty when they are random."""
    teacher_sha256: str = ""
    """Digest of the weights of the run that made the pseudo-labels; empty without any."""


@dataclass(frozen=True, kw_only=True)
class RunDirectory:
    """A run on disk with the recipe and the dataset it belongs to."""

    path: Path
    recipe: Recipe
    dataset: DatasetIdentity
    encoder_sha256: str
    """Digest of the encoder's first weights; empty when they are random."""
    teacher_sha256: str = ""
    """Digest of the weights of the run that made the pseudo-labels; empty without any."""
    metrics = _File("metrics.json")
    """Out-of-fold metrics."""
    thresholds = _File("thresholds.json")
    """The decision rule for new images."""
    histograms = _File("oof.parquet")
    """Histograms of every out-of-fold image."""
    masks = _File("oof.csv")
    """Out-of-fold masks under the nested rules."""
    overlay = _File("overlay.png")
    """Out-of-fold examples with the outlines of truth and prediction."""
    report = _File("report.html")
    """What was trained, how good it is, and where it is wrong."""
    submission = _File("submission.csv")
    """The test images' masks."""
    logs = _File(log_file.DIRECTORY)
    """Directory of the logs."""
    lock = _File(LOCK_FILE)
    """Held by the process that starts or finishes the run."""

    def fold(self, fold: int) -> FoldDirectory:
        """Return the paths of one fold."""
        return FoldDirectory(self.path / f"fold-{fold}")

    @property
    def unfinished_folds(self) -> list[int]:
        """Folds of the dataset that are not trained to their end."""
        return [k for k in range(self.dataset.num_folds) if not self.fold(k).is_finished]

    @property
    def has_results(self) -> bool:
        """True when there is something that belongs to this recipe and dataset."""
        return self.metrics.exists() or any(self.fold(k).has_results for k in range(self.dataset.num_folds))

    @property
    def has_begun(self) -> bool:
        """True when the run has results, or a process is working on them."""
        return self.has_results or self._is_training

    @property
    def is_in_use(self) -> bool:
        """True when a process starts, trains or finishes the run."""
        return locks.is_held(self.lock) or self._is_training

    @property
    def _is_training(self) -> bool:
        return any(locks.is_held(self.fold(k).lock) for k in range(self.dataset.num_folds))


def written_names() -> set[str]:
    """Return the names of what a run's directory may hold."""
    return _names(RunDirectory) | {RECIPE_FILE} | {f"fold-{k}" for k in range(MAX_FOLDS)}


def foreign_files(path: Path) -> list[Path]:
    """Return what is in a run's directory, or in that of a fold, and is not the run's; empty for a whole run."""
    found = [entry for entry in path.iterdir() if entry.name not in written_names()]
    for fold in path.glob("fold-*/"):
        known = _names(FoldDirectory)
        found += [e for e in fold.iterdir() if e.name not in known and not e.name.startswith("events.out.tfevents.")]
    return [entry for entry in found if not is_temporary(entry)]


def check_output(out: Path, runs: Sequence["RunDirectory"]) -> None:
    """Refuse to write a submission in place of another file of a run.

    RUN/submission.csv is the place of that run's own, and not of one of several runs.

    Raises:
        UserError: Naming the file.
    """
    kept = written_names()
    if len(runs) == 1:
        kept.remove(RunDirectory.__dict__["submission"].name)
    check_apart("--out", out, {"--runs": [run.path / name for run in runs for name in kept]})


def is_own_submission(out: Path, runs: Sequence["RunDirectory"]) -> bool:
    """Return whether a submission is RUN/submission.csv of the only run."""
    return len(runs) == 1 and os.path.realpath(out) == os.path.realpath(runs[0].submission)


def write(run: RunDirectory) -> None:
    """Publish the recipe.json of a run."""
    record = _Record(
        pneumo=__version__,
        recipe=run.recipe,
        dataset=run.dataset,
        encoder_sha256=run.encoder_sha256,
        teacher_sha256=run.teacher_sha256,
    )
    content = {"format_version": FORMAT_VERSION, **asdict(record)}
    publish_text(run.path / RECIPE_FILE, json.dumps(content, indent=2) + "\n")


def load(path: Path) -> RunDirectory:
    """Load a run.

    Raises:
        UserError: When it is not a run, is of another format version, or has links that lead out of it.
    """
    refuse_url(path, "the directory of a run")
    content = documents.read_versioned(
        path / RECIPE_FILE,
        FORMAT_VERSION,
        expected="the recipe.json that job/train.py wrote",
        repair=_how_to_give(path),
        other_version="use the version of pneumo that wrote it, or start a new --run",
    )
    _check_links(path)
    content |= {"recipe": add_newer_entries(content.get("recipe"))}
    content.setdefault("teacher_sha256", "")
    complete_identity(content.get("dataset"))
    record = config.from_json(_Record, content, str(path / RECIPE_FILE))
    return RunDirectory(
        path=path,
        recipe=record.recipe,
        dataset=record.dataset,
        encoder_sha256=record.encoder_sha256,
        teacher_sha256=record.teacher_sha256,
    )


def complete_identity(dataset: Any) -> None:
    """Add what a JSON document of before there was it does not have; what is no dataset stays as it is."""
    if isinstance(dataset, dict):
        dataset.setdefault("excluded_unlabeled", {})


def is_exported(path: Path) -> bool:
    """Return whether a directory is an exported model, and not a run."""
    return (path / EXPORTED_FILE).is_file()


def starting_version(run: RunDirectory) -> str:
    """Return the version of pneumo that started a run."""
    return str(documents.read(run.path / RECIPE_FILE)["pneumo"])


def _how_to_give(path: Path) -> str:
    """Return what to do about a path that is not a run's, by what is there instead."""
    if (path.parent / RECIPE_FILE).is_file() and not (path / RECIPE_FILE).exists():
        return f"give the run's directory above: {path.parent}"
    if (path / EXPORTED_FILE).is_file():
        return "give the directory of a run: an exported model can be predicted with, and nothing else"
    if paths.manifest(path).is_file():
        return "give the directory of a run, not that of the dataset"
    if runs := sorted(each.parent for each in path.glob(f"*/{RECIPE_FILE}")):
        return f"give a run in it, such as {runs[0]}; of several, as of a blend, job/ensemble.py takes them all"
    if "," in str(path) and not path.exists():
        return config.by_spaces("runs")
    return "restore it, or check the path of the run"


def _check_links(path: Path) -> None:
    """Refuse symbolic links that lead out of a run: training writes and deletes there, and a run may be untrusted."""
    root = path.resolve()
    for directory, directories, files in os.walk(root):
        for entry in (Path(directory, name) for name in (*directories, *files)):
            if entry.is_symlink() and not Path(os.path.realpath(entry)).is_relative_to(root):
                raise UserError(
                    f"{entry} is a symbolic link that leads out of the run",
                    "files inside the run",
                    "move what it points to here; the run directory as a whole may be a link",
                )
