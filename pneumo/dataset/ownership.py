"""Which directories a build or a prediction may write into: only what an earlier one of its kind left is replaced."""

from collections.abc import Collection
from pathlib import Path

from pneumo.dataset import paths, quarantine
from pneumo.runtime.errors import UserError
from pneumo.runtime.files import check_writable, is_temporary


def check_dataset(dataset: Path) -> None:
    """Refuse a directory in which a build would replace or delete what no build has written, or could not write.

    Raises:
        UserError: Naming what is there, or why it cannot be written to.
    """
    if _is_dataset(dataset):
        return
    try:
        # Now, and not after all headers are read.
        check_writable(dataset)
    except OSError as error:
        expected = "a directory that can be written to"
        raise UserError(f"{dataset}: {error.strerror}", expected, "choose another --out") from None
    entries = {entry.name for entry in dataset.iterdir()} if dataset.is_dir() else set()
    found = entries & set(paths.WRITTEN)
    if _has_lists(dataset, paths.LISTS):
        # A build that found nothing to build, or that someone has cleaned up, leaves no more.
        found -= set(paths.LISTS)
    begun = paths.build(dataset)
    if begun.is_dir() and all(is_temporary(entry) for entry in begun.iterdir()):
        found.discard(paths.BUILD)
    # Another task may have begun since the first look.
    if found and not _is_dataset(dataset):
        raise _foreign(dataset, found, "a dataset, finished or not")


def check_prediction(directory: Path, written: Collection[str]) -> None:
    """Refuse a directory in which a prediction would replace what no prediction has written.

    Args:
        directory: Where the results go.
        written: Names of all that a prediction writes.

    Raises:
        UserError: Naming what is there.
    """
    found = {entry.name for entry in directory.iterdir()} & set(written) if directory.is_dir() else set()
    # A dataset has these lists too, and one more.
    is_prediction = _has_lists(directory, paths.PREDICTION_LISTS) and not (directory / paths.UNMATCHED).exists()
    if found and not is_prediction:
        raise _foreign(directory, found, "an earlier prediction with its lists")


def _is_dataset(directory: Path) -> bool:
    return paths.manifest(directory).is_file() or paths.plan(directory).is_file()


def _has_lists(directory: Path, names: Collection[str]) -> bool:
    return all(quarantine.is_list(directory / name) for name in names)


def _foreign(directory: Path, found: Collection[str], own: str) -> UserError:
    return UserError(
        f"{directory} has {', '.join(sorted(found))} of another origin, which would be replaced or deleted",
        f"an output that is new or empty, or {own}",
        "give another --out, or move these away",
    )
