"""The lists of files that did not become samples, and how many may be in the quarantine."""

import csv
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from pneumo.dataset import paths
from pneumo.dataset.paths import Split
from pneumo.dataset.plan import MASK, BuildPlan
from pneumo.dataset.scan import QuarantineRow
from pneumo.masks import image_ids
from pneumo.runtime.console import log
from pneumo.runtime.errors import UserError, counted, escape_control_characters
from pneumo.runtime.files import publish_csv

COLUMNS = ("split", "file", "image_id", "reason", "phase", "found", "expected", "action")
"""Columns of quarantine.csv."""
_COLUMNS = {
    paths.QUARANTINE: COLUMNS,
    paths.LEFT_OUT: ("split", "file", "image_id", "reason"),
    paths.UNMATCHED: ("image_id", "file", "reason"),
}


def write(dataset: Path, plan: BuildPlan, quarantined: Iterable[QuarantineRow]) -> None:
    """Publish the lists; the quarantine has training files first, each split sorted by file."""
    order = sorted(quarantined, key=lambda item: (paths.SPLITS.index(item.split), item.file))
    for row in order:
        log.debug("quarantined: %s (%s): %s", *map(escape_control_characters, (row.file, row.reason, row.found)))
    _write_csv(dataset / paths.QUARANTINE, [[getattr(item, name) for name in COLUMNS] for item in order])
    left_out = [[item.source.split, item.source.file, item.image_id, item.exclusion] for item in plan.left_out]
    _write_csv(dataset / paths.LEFT_OUT, left_out)
    rows = [[item.image_id, item.source.file, "no_row"] for item in plan.unlabeled]
    rows += [[image_id, "", "no_file"] for image_id in plan.missing]
    _write_csv(dataset / paths.UNMATCHED, rows)


def is_list(path: Path) -> bool:
    """Return whether a path is a file that begins as the list of its name does."""
    header = (",".join(_COLUMNS[path.name]) + "\n").encode()
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(header)) == header


def count_reasons(dataset: Path, name: str = paths.QUARANTINE) -> Counter[str]:
    """Count the reasons in one of a dataset's lists; none when it is missing, or no longer this list."""
    return Counter(row["reason"] for row in _read_csv(dataset / name))


def read_images(dataset: Path) -> set[tuple[str, str]]:
    """Return split and image id of the files in a dataset's quarantine.csv; none where ``count_reasons`` has none."""
    return {(row["split"], row["image_id"]) for row in _read_csv(dataset / paths.QUARANTINE)}


def describe_lists(dataset: Path, split: Split, place: Path | None = None) -> str:
    """Return which of a dataset's lists name what did not become a sample of a split, and what to do about it.

    That is the flag that takes images left out, or the action where all quarantined files have the same.

    Args:
        dataset: The dataset.
        split: The split.
        place: The directory that the lists are copied to, where that is not the dataset.

    Returns:
        An advice; empty when no list names anything.
    """
    names = (paths.QUARANTINE, paths.LEFT_OUT, *((paths.UNMATCHED,) if split == "train" else ()))
    rows = {name: [row for row in _read_csv(dataset / name) if row.get("split", split) == split] for name in names}
    actions = {row.get("action") for row in rows[paths.QUARANTINE]}
    action = (actions.pop() or "") if len(actions) == 1 else ""
    shown = {name: f"{(place or dataset) / name}" for name in names if rows[name]}
    if action:
        shown[paths.QUARANTINE] += f" (action: {action})"
    lists = " and ".join(shown.values())
    if any(row["reason"] != MASK for row in rows[paths.LEFT_OUT]):
        return f"see {lists}; --include-non-frontal takes the images of {paths.LEFT_OUT}"
    return f"see {lists}" if lists else ""


def format_counts(reasons: Counter[str]) -> str:
    """Return counts as text, ``3 unknown_format, 1 empty_file``, the most frequent first."""
    return ", ".join(f"{number} {reason}" for reason, number in reasons.most_common())


def exceeds(quarantined: int, found: int, limit: float) -> bool:
    """Return whether more than ``limit`` percent of the files found are quarantined."""
    return 100 * quarantined > limit * found


def check_percent(dataset: Path, quarantined: int, found: int, limit: float) -> None:
    """Log how many files are quarantined and why.

    Args:
        dataset: The dataset's directory, with its lists.
        quarantined: Files in the quarantine.
        found: Files found in all.
        limit: Percent of these that may be quarantined.

    Raises:
        UserError: When more are.
    """
    if not quarantined:
        return
    percent = 100 * quarantined / found
    reasons = format_counts(count_reasons(dataset))
    summary = f"{quarantined} of {counted(found, 'file')} ({percent:.1f} %) quarantined: {reasons}"
    if exceeds(quarantined, found, limit):
        raise UserError(
            summary,
            f"at most {limit:g} %",
            f"see what to do about each in {dataset / paths.QUARANTINE}; accept them with a higher --max-quarantined, "
            "which resumes from the shards that are finished, or correct the files or CSVs and give another --out",
        )
    log.warning("%s; %s names each", summary, paths.QUARANTINE)


def _read_csv(path: Path) -> list[dict[str, str]]:
    """Return the rows of a list; none when it is missing, or a spreadsheet has saved it in another form."""
    if not is_list(path):
        return []
    with path.open(encoding="utf-8", errors="replace", newline="") as file, suppress(csv.Error):
        # Cells are missing from a line that was written by hand.
        return [row for row in csv.DictReader(file) if None not in row.values()]
    return []


def _write_csv(path: Path, rows: Iterable[Sequence[str]]) -> None:
    # Anybody may have named the files: in bytes that are not UTF-8, or as a formula that a spreadsheet would run.
    publish_csv(path, _COLUMNS[path.name], ([image_ids.escape_formula(cell) for cell in row] for row in rows))
