"""The run directory: its files, and which run of which recipe and dataset it belongs to.

    RUN/
        recipe.json            recipe, dataset, excluded images, version; fixed once a fold has begun
        metrics.json           out-of-fold metrics                            (when all folds are done)
        thresholds.json        the decision rule chosen on all folds          (when all folds are done)
        oof.parquet            histograms of every out-of-fold image          (when all folds are done)
        oof.csv                out-of-fold masks under the nested rules       (when all folds are done)
        overlay.png            out-of-fold examples                           (when all folds are done)
        submission.csv         the test images' masks                         (when the dataset has any)
        fold-0/
            checkpoints/       see pneumo.training.checkpoint             (until the fold is finished)
            events.out.*       TensorBoard
            model.safetensors  the weights that inference uses
            oof.parquet        histograms of this fold's images
            fold.json          history; written last: a fold that has it is finished
            .lock              while a process trains the fold; RUN/.lock while one starts or finishes the run

A run belongs to one recipe and one dataset with one assignment of folds, and cannot be resumed with others. Until a
fold has begun there is nothing to resume: a command that failed at its start can be corrected in place.
"""

import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Self

from annotated_types import Interval

from pneumo import __version__
from pneumo.dataset.manifest import Manifest
from pneumo.runtime import config, documents, locks
from pneumo.runtime.config import config_dataclass
from pneumo.runtime.errors import UserError
from pneumo.runtime.files import is_temporary, publish_text, remove_temporary_files
from pneumo.runtime.outputs import check_apart
from pneumo.runtime.ranges import MAX_FOLDS
from pneumo.training import checkpoint
from pneumo.training.recipe import Recipe
from pneumo.training.recipe_json import add_newer_entries, differences, to_json

FORMAT_VERSION = 3
RECIPE_FILE = "recipe.json"
"""The file that makes a directory a run."""
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
    model = _File("model.safetensors")
    """Weights that inference uses."""
    histograms = _File("oof.parquet")
    """Histograms of the fold's own images."""
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
        checkpoint.prune(self.checkpoints)

    def remove_checkpoints(self) -> None:
        """Remove the checkpoints of a finished fold, whose weights and histograms are in place."""
        # A failed deletion wastes disk space, but must not end training.
        shutil.rmtree(self.checkpoints, ignore_errors=True)


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
    """Damaged training images that the run excludes, each with what was found. Fixed when the run is started."""

    @classmethod
    def of(cls, manifest: Manifest, excluded: Mapping[str, str]) -> Self:
        """Return the identity of a dataset without its excluded images."""
        return cls(
            digest=manifest.samples_digest,
            folds_digest=manifest.folds_digest,
            num_folds=manifest.num_folds,
            grouped_by=manifest.grouped_by,
            patients=manifest.patients,
            excluded=dict(excluded),
        )


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


@dataclass(frozen=True, kw_only=True)
class RunDirectory:
    """A run on disk with the recipe and the dataset it belongs to."""

    path: Path
    recipe: Recipe
    dataset: DatasetIdentity
    encoder_sha256: str
    """Digest of the encoder's first weights; empty when they are random."""
    metrics = _File("metrics.json")
    """Out-of-fold metrics."""
    thresholds = _File("thresholds.json")
    """The decision rule chosen on all folds."""
    histograms = _File("oof.parquet")
    """Histograms of every out-of-fold image."""
    masks = _File("oof.csv")
    """Out-of-fold masks under the nested rules."""
    overlay = _File("overlay.png")
    """Out-of-fold examples with the outlines of truth and prediction."""
    submission = _File("submission.csv")
    """The test images' masks."""
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

    def require_unchanged(self) -> None:
        """Refuse to train what recipe.json does not say. The caller holds the locks of its folds.

        Raises:
            UserError: When another command, before these locks were held, has started another run here.
        """
        if load(self.path) != self:
            raise UserError(
                f"another command has just started another run in {self.path}", "one run", "give another --run"
            )


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


def create(
    path: Path,
    recipe: Recipe,
    dataset: DatasetIdentity,
    settle: Callable[[Recipe], tuple[Recipe, str]] = lambda recipe: (recipe, ""),
) -> RunDirectory:
    """Start a run, or load one of the same recipe and dataset.

    Several processes may do so at once (an array job with a fold in each element): one starts it, the others load it.

    Args:
        path: The run's directory.
        recipe: The recipe that is asked for; ``auto`` in it is whatever a run that has begun has.
        dataset: The dataset.
        settle: Called unless the run has begun: returns the recipe without ``auto``, and the digest of the encoder's
            first weights. Nothing is written when it raises an error.

    Raises:
        UserError: When the directory holds a run of another recipe or dataset that has begun, or something else.
    """
    run = load_if_begun(path)
    if run is None:
        settled, encoder_sha256 = settle(recipe)
        run = _start(RunDirectory(path=path, recipe=settled, dataset=dataset, encoder_sha256=encoder_sha256))
    _compare(run, recipe, dataset)
    return run


def load_if_begun(path: Path) -> RunDirectory | None:
    """Return the run in a directory, None when there is none that has begun.

    Raises:
        UserError: When the run cannot be loaded, or another process keeps its lock.
    """
    run = _load_if_exists(path)
    if run is None or not run.has_begun:
        return None
    if run.has_results:
        return run
    # Whoever replaces the run holds the locks of its folds, too, but under the run's own lock.
    with locks.hold(path / LOCK_FILE, str(path)):
        run = load(path)
        return run if run.has_begun else None


def _load_if_exists(path: Path) -> RunDirectory | None:
    return load(path) if (path / RECIPE_FILE).exists() else None


def _start(run: RunDirectory) -> RunDirectory:
    """Write the recipe.json of a run, unless another process has begun one; return the run that is there then."""
    with locks.hold(run.path / LOCK_FILE, str(run.path)):
        other = _load_if_exists(run.path)
        if other is None:
            _check_empty(run.path)
            remove_temporary_files(run.path, RECIPE_FILE)
            _write(run)
        elif other != run and not _replace(other, run):
            return other
    return run


def _check_empty(path: Path) -> None:
    if any(p for p in path.iterdir() if not p.name.startswith((".", "fold-"))):
        raise UserError(
            f"{path} exists and has no recipe.json", "a new or empty directory, or a run", "give another --run"
        )


def _replace(old: RunDirectory, new: RunDirectory) -> bool:
    """Write another recipe.json in place of that of a run that has not begun; return False when it has."""
    if old.has_begun:
        return False
    folds = [old.fold(k) for k in range(old.dataset.num_folds)]
    with ExitStack() as held:
        try:
            # Held, no other process can begin a fold meanwhile. One that only looks has a lock for a moment.
            for fold in folds:
                held.enter_context(locks.hold(fold.lock, str(fold.path)))
        except UserError:
            return False
        if old.has_results:
            return False
        _write(new)
    for fold in folds:
        # The directory that the lock made; one that is not empty stays.
        with suppress(OSError):
            fold.path.rmdir()
    return True


def _write(run: RunDirectory) -> None:
    record = _Record(pneumo=__version__, recipe=run.recipe, dataset=run.dataset, encoder_sha256=run.encoder_sha256)
    content = {"format_version": FORMAT_VERSION, **asdict(record)}
    publish_text(run.path / RECIPE_FILE, json.dumps(content, indent=2) + "\n")


def load(path: Path) -> RunDirectory:
    """Load a run.

    Raises:
        UserError: When it is not a run, is of another format version, or has links that lead out of it.
    """
    content = documents.read_versioned(
        path / RECIPE_FILE,
        FORMAT_VERSION,
        expected="the recipe.json that job/train.py wrote",
        repair="restore it, or check the path of the run",
        other_version="use the version of pneumo that wrote it, or start a new --run",
    )
    _check_links(path)
    content |= {"recipe": add_newer_entries(content.get("recipe"))}
    record = config.from_json(_Record, content, str(path / RECIPE_FILE))
    return RunDirectory(path=path, recipe=record.recipe, dataset=record.dataset, encoder_sha256=record.encoder_sha256)


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


def _compare(run: RunDirectory, recipe: Recipe, dataset: DatasetIdentity) -> None:
    rng_scheme = run.recipe.augmentation.rng_scheme
    if rng_scheme != recipe.augmentation.rng_scheme and run.unfinished_folds:
        raise UserError(
            f"{run.path} is unfinished and draws its augmentation by scheme {rng_scheme}",
            f"scheme {recipe.augmentation.rng_scheme}, which this version of pneumo has",
            "finish it with the version of pneumo that started it, or give another --run to start a new one",
        )
    # A finished run draws nothing more.
    recipe = replace(recipe, augmentation=replace(recipe.augmentation, rng_scheme=rng_scheme))
    if recipe.precision == "auto":
        recipe = replace(recipe, precision=run.recipe.precision)
    if recipe.loader == "auto":
        recipe = replace(recipe, loader=run.recipe.loader)
    changed = differences(to_json(run.recipe), to_json(recipe))
    if changed:
        raise UserError(
            f"{run.path} was started with another recipe ({'; '.join(changed)})",
            "the same recipe",
            "give the same flags to resume it, or another --run to start a new one",
        )
    if run.dataset != dataset:
        changed = differences(vars(run.dataset), vars(dataset))
        raise UserError(
            f"{run.path} was started on another dataset or other folds ({'; '.join(changed)})",
            "the same dataset and folds",
            "give the same --dataset to resume it, or another --run to start a new one",
        )
