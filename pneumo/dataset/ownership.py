"""Which directories a build may write into: only what an earlier one left is replaced."""

from pathlib import Path

from pneumo.dataset import paths, quarantine, shared_headers
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
    if all(quarantine.is_list(dataset / name) for name in paths.LISTS):
        # A build that found nothing to build, or that someone has cleaned up, leaves no more.
        found -= set(paths.LISTS)
    if _is_begun(dataset):
        found.discard(paths.BUILD)
    # Another task may have begun since the first look.
    if found and not _is_dataset(dataset):
        raise UserError(
            f"{dataset} has {', '.join(sorted(found))} of another origin, which would be replaced or deleted",
            "an output that is new or empty, or a dataset, finished or not",
            "give another --out, or move these away",
        )


def _is_begun(dataset: Path) -> bool:
    """Return whether all that there is of a build is what one leaves that ends before it has a plan."""
    begun, headers = paths.build(dataset), paths.shared_headers(dataset)
    try:
        entries = [entry for entry in begun.iterdir() if entry != headers]
        if headers.exists():
            entries += [entry for entry in headers.iterdir() if not shared_headers.NAME.fullmatch(entry.name)]
    except FileNotFoundError:
        # Another task has ended, and removed them.
        return True
    except NotADirectoryError:
        return False
    return all(map(is_temporary, entries))


def _is_dataset(directory: Path) -> bool:
    return paths.manifest(directory).is_file() or paths.plan(directory).is_file()
