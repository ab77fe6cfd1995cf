"""From scanned headers, masks and patients to the list of shards: a pure function of the input.

Every task and every restart of a build makes the same plan by itself, so they need not talk to each other.
"""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

from pneumo.dataset import paths, scan, tar
from pneumo.dataset.manifest import GroupedBy
from pneumo.dataset.scan import QuarantineRow, ScannedFile
from pneumo.dicom.rejection import DicomRejectedError, Reason

SHARD_SIZE = 256
"""Images in a shard: about 35 MB of 1024 x 1024 JPEGs, small enough that a few thousand images occupy every worker."""


@dataclass(frozen=True, slots=True)
class PlannedSample:
    """A file that is to become a sample."""

    source: scan.Source
    image_id: str
    key: str
    patient: int
    """Group number, in the order of first appearance among the image ids; -1 when the patient is unknown."""
    mask: str | None
    """Run lengths, ``-1`` when empty; None for a test image."""


@dataclass(frozen=True, slots=True)
class ShardPlan:
    """A shard to write: the piece of work that one worker does at a time and that is published as a whole."""

    name: str
    samples: tuple[PlannedSample, ...]


@dataclass(frozen=True, kw_only=True)
class BuildPlan:
    """What the input becomes."""

    shards: tuple[ShardPlan, ...]
    quarantined: tuple[QuarantineRow, ...]
    """Files already known to be no sample: bad headers and contradicting duplicates."""
    unlabelled: tuple[ScannedFile, ...]
    """Training files without a row in the masks CSV."""
    missing: tuple[str, ...]
    """Ids of the masks CSV without a file."""
    found: int
    """Files found."""
    merged: int
    """Byte-identical copies left out."""
    renamed: int
    """Entries whose file name differs from their image id."""
    grouped_by: GroupedBy
    digest: str
    """SHA-256 of all of the above and of the masks."""


def make(
    scanned: Sequence[ScannedFile | QuarantineRow],
    masks: Mapping[str, str],
    patients: Mapping[str, str] | None,
    *,
    shard_size: int = SHARD_SIZE,
    file_digest: Callable[[Path], str] = scan.file_digest,
) -> BuildPlan:
    """Plan the dataset.

    Args:
        scanned: The result for every file found, in any order.
        masks: Run lengths by image id.
        patients: Patient by image id; None groups by the files' PatientID.
        shard_size: Images in a shard.
        file_digest: Digest of a file's bytes; asked only for files that share an image id.
    """
    headers = sorted((item for item in scanned if isinstance(item, ScannedFile)), key=_place)
    refused = [item for item in scanned if isinstance(item, QuarantineRow)]
    kept, duplicates = _resolve_duplicates(headers, file_digest)
    used, unlabelled = _part(kept, lambda item: item.source.split == "test" or item.image_id in masks)
    # Not by path: folders are named after people, and the rows of the table would tell their alphabetical order.
    used.sort(key=lambda item: (item.source.split != "train", item.image_id))
    refused = sorted(refused + duplicates, key=lambda item: (item.split != "train", item.file))
    groups, grouped_by = _patient_groups(used, patients)
    entries = list(_entries(used, groups, masks))
    present = {item.image_id for item in headers}
    plan = BuildPlan(
        shards=tuple(_units(entries, shard_size)),
        quarantined=tuple(refused),
        unlabelled=tuple(unlabelled),
        missing=tuple(image_id for image_id in masks if image_id not in present),
        found=len(scanned),
        merged=len(scanned) - len(refused) - len(kept),
        renamed=sum(item.stem != item.image_id for item in used),
        grouped_by=grouped_by,
        digest="",
    )
    sizes = {item.source: item.size for item in kept}
    return replace(plan, digest=_digest(plan, sizes, shard_size))


def _place(item: ScannedFile) -> tuple[bool, str]:
    return item.source.split != "train", item.source.file


def _part(
    items: Sequence[ScannedFile], wanted: Callable[[ScannedFile], bool]
) -> tuple[list[ScannedFile], list[ScannedFile]]:
    """Divide items into those wanted and the others, each in the order given."""
    return [item for item in items if wanted(item)], [item for item in items if not wanted(item)]


def _resolve_duplicates(
    headers: Sequence[ScannedFile], file_digest: Callable[[Path], str]
) -> tuple[list[ScannedFile], list[QuarantineRow]]:
    """Keep the first of byte-identical files of an image; refuse all files of an image when they contradict."""
    by_image: dict[tuple[str, str], list[ScannedFile]] = defaultdict(list)
    for item in headers:
        by_image[item.source.split, item.image_id].append(item)
    kept: list[ScannedFile] = []
    refused: list[QuarantineRow] = []
    for files in by_image.values():
        if len(files) == 1:
            kept.append(files[0])
            continue
        digests: dict[ScannedFile, str] = {}
        for item in files:
            try:
                digests[item] = file_digest(item.source.path)
            except OSError as error:
                refused.append(scan.quarantine_row(item.source, item.image_id, scan.unreadable(error)))
        if len(set(digests.values())) == 1:
            kept.append(next(iter(digests)))
        else:
            refused.extend(_duplicate(item, list(digests)) for item in digests)
    return kept, refused


def _duplicate(item: ScannedFile, files: Sequence[ScannedFile]) -> QuarantineRow:
    others = [other.source.file for other in files if other is not item]
    error = DicomRejectedError(
        Reason.DUPLICATE,
        "plan",
        f"{len(files)} files with this image id and different bytes, also {others[0]}",
        "one file per image id",
        "keep the right one",
    )
    return scan.quarantine_row(item.source, item.image_id, error)


def _patient_groups(used: Sequence[ScannedFile], patients: Mapping[str, str] | None) -> tuple[list[int], GroupedBy]:
    """Number the patients in the order in which the image ids, which are in the table too, first name them.

    So the numbers say which images belong together and nothing else, neither about the patients' ids nor about paths.
    """
    names = [item.patient_id if patients is None else patients.get(item.image_id, "") for item in used]
    numbers: dict[str, int] = {}
    groups = [numbers.setdefault(name, len(numbers)) if name else -1 for name in names]
    if patients is not None:
        return groups, "patients csv"
    return groups, "dicom" if numbers else "none"


def _entries(used: Sequence[ScannedFile], groups: Sequence[int], masks: Mapping[str, str]) -> Iterator[PlannedSample]:
    for split, members in groupby(zip(used, groups, strict=True), key=lambda pair: pair[0].source.split):
        pairs = list(members)
        for (item, group), key in zip(pairs, tar.keys([item.image_id for item, _ in pairs]), strict=True):
            mask = masks[item.image_id] if split == "train" else None
            yield PlannedSample(item.source, item.image_id, key, group, mask)


def _units(entries: Iterable[PlannedSample], shard_size: int) -> Iterator[ShardPlan]:
    for split, members in groupby(entries, key=lambda entry: entry.source.split):
        chosen = list(members)
        for number, start in enumerate(range(0, len(chosen), shard_size)):
            yield ShardPlan(paths.shard_name(split, number), tuple(chosen[start : start + shard_size]))


def _digest(plan: BuildPlan, sizes: Mapping[scan.Source, int], shard_size: int) -> str:
    """Digest the plan. File contents count by their size alone: reading them all would cost as much as building."""
    digest = hashlib.sha256()

    def add(*words: object) -> None:
        digest.update(("\t".join(map(str, words)) + "\n").encode("utf-8", "surrogateescape"))

    add("plan", paths.FORMAT_VERSION, shard_size, plan.found, plan.merged, plan.grouped_by)
    for unit in plan.shards:
        for entry in unit.samples:
            size = sizes[entry.source]
            add(unit.name, entry.source.file, size, entry.image_id, entry.key, entry.patient, entry.mask)
    for refusal in plan.quarantined:
        add("refused", refusal.split, refusal.file, refusal.image_id, refusal.reason)
    for item in plan.unlabelled:
        add("unlabelled", item.source.file, item.image_id)
    for image_id in plan.missing:
        add("missing", image_id)
    return digest.hexdigest()
