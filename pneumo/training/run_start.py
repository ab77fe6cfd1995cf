"""How a run is started, joined by other processes, corrected in place, and refused to another recipe or dataset.

A run belongs to one recipe and one dataset with one assignment of folds, and cannot be resumed with others. Until a
fold has begun there is nothing to resume: a command that failed at its start can be corrected in place. Several
processes may start one run at once (an array job with a fold in each element): recipe.json is written under the run's
lock, and replaced only by who holds the locks of all its folds, too.
"""

from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path

from pneumo.runtime import locks
from pneumo.runtime.errors import UserError
from pneumo.runtime.files import remove_temporary_files
from pneumo.training.recipe import Recipe
from pneumo.training.recipe_json import differences, flags, to_json
from pneumo.training.run_directory import LOCK_FILE, RECIPE_FILE, DatasetIdentity, RunDirectory, load, write


def create(
    path: Path,
    recipe: Recipe,
    dataset: DatasetIdentity,
    settle: Callable[[Recipe], tuple[Recipe, str]] = lambda recipe: (recipe, ""),
    teacher_sha256: str = "",
) -> RunDirectory:
    """Start a run, or load one of the same recipe and dataset.

    Args:
        path: The run's directory.
        recipe: The recipe that is asked for; ``auto`` in it is whatever a run that has begun has.
        dataset: The dataset.
        settle: Called unless the run has begun: returns the recipe without ``auto``, and the digest of the encoder's
            first weights. Nothing is written when it raises an error.
        teacher_sha256: Digest of the teacher's weights; empty without one.

    Raises:
        UserError: When the directory holds a run of another recipe or dataset that has begun, or something else.
    """
    run = load_if_begun(path)
    if run is None:
        if path.is_dir() and not (path / RECIPE_FILE).exists():
            # Before weights are downloaded for it.
            _check_empty(path)
        settled, encoder_sha256 = settle(recipe)
        run = _start(
            RunDirectory(
                path=path,
                recipe=settled,
                dataset=dataset,
                encoder_sha256=encoder_sha256,
                teacher_sha256=teacher_sha256,
            )
        )
    _compare(run, recipe, dataset)
    compare_teacher(run, teacher_sha256)
    return run


def find(path: Path, recipe: Recipe, dataset: DatasetIdentity) -> RunDirectory | None:
    """Return the run that ``create`` would resume, None when it would start a new one; write nothing.

    Raises:
        UserError: As ``create``; the teacher is left to ``compare_teacher``.
    """
    run = _load_if_exists(path)
    if run is None and path.is_dir():
        _check_empty(path)
    if run is None or not run.has_results:
        return None
    own = run.dataset
    _compare(run, recipe, replace(dataset, excluded=own.excluded, excluded_unlabeled=own.excluded_unlabeled))
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
            write(run)
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
        write(new)
    for fold in folds:
        # The directory that the lock made; one that is not empty stays.
        with suppress(OSError):
            fold.path.rmdir()
    return True


def _how_to_resume(run: RunDirectory, given: Recipe) -> str:
    """Return what to do to go on with the recipe that a run was started with; its version may have other defaults."""
    started = run.recipe
    if started.name != given.name:
        return f"give the flags that it was started with, --recipe {started.name} and others, to resume it"
    teacher = " and its --teacher" if run.teacher_sha256 and not given.pseudo_labels.share else ""
    return f"add {flags(to_json(started), to_json(given))}{teacher} to resume it"


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
            f"{_how_to_resume(run, recipe)}, or give another --run to start a new one",
        )
    if run.dataset != dataset:
        changed = _dataset_differences(run.dataset, dataset)
        raise UserError(
            f"{run.path} was started on another dataset or other folds ({'; '.join(changed)})",
            "the same dataset and folds",
            "give the same --dataset to resume it, or another --run to start a new one",
        )


def compare_teacher(run: RunDirectory, teacher_sha256: str) -> None:
    """Refuse to resume a run with another teacher.

    Raises:
        UserError: When the digest of the teacher's weights, empty without one, is another.
    """
    if run.teacher_sha256 != teacher_sha256:
        raise UserError(
            f"{run.path} was started with another --teacher",
            "the run with the same weights",
            "give the same --teacher to resume it, or another --run to start a new one",
        )


def _dataset_differences(old: DatasetIdentity, new: DatasetIdentity) -> list[str]:
    """Return the fields in which two datasets differ; of digests, only what they are of."""
    digests = {"digest": "other images, masks or patients", "folds_digest": "other folds"}
    before, now = vars(old), vars(new)
    same = {name: before[name] for name in digests}
    changed = differences(before, now | same)
    # Other images are other folds, too.
    other = [meaning for name, meaning in digests.items() if before[name] != now[name]]
    return [*changed, *other[:1]]


def require_unchanged(run: RunDirectory) -> None:
    """Refuse to train what recipe.json does not say. The caller holds the locks of its folds.

    Raises:
        UserError: When another command, before these locks were held, has started another run here.
    """
    if load(run.path) != run:
        raise UserError(f"another command has just started another run in {run.path}", "one run", "give another --run")
