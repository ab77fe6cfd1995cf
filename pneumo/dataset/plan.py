"""Plan the shards from scanned headers, masks and patients: a pure function of the input.

Every task and every restart of a build makes the same plan by itself, so they need not communicate.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np
import numpy.typing as npt

from pneumo.dataset import paths, scan, tar
from pneumo.dataset.manifest import GroupedBy, IdSource
from pneumo.dataset.options import SHARD_SIZE
from pneumo.dataset.paths import Split
from pneumo.dataset.scan import QuarantineRow, ScannedFile
from pneumo.dicom.opening import Location, is_beginning, sha256
from pneumo.dicom.rejection import FileRejectedError, Reason
from pneumo.masks import image_ids

OTHER_ID = "give --id file-name when the ids are the files' names; fetch the file again when it is cut off"
"""What to do about a DICOM without an id."""
MASK = "mask picture"
"""Why a mask among the images is left out."""
ANOTHER_ID = "keep the right one, or give --id file-name when the ids are the files' names"
"""What to do about different DICOMs with one id."""


@dataclass(frozen=True, slots=True)
class PlannedSample:
    """A file that should become a sample."""

    source: scan.Source
    image_id: str
    wds_key: str
    patient: int
    """Group number, in the order of first appearance among the image ids; -1 when the patient is unknown."""
    mask: str | None
    """Run lengths, ``-1`` when empty; None for an image without a label."""
    id_in_file: str = ""
    """The id that the file itself had when it was planned; empty when files' names are the ids."""


@dataclass(frozen=True, slots=True)
class ShardPlan:
    """A shard to write: what one worker does at a time, and what is published as a whole."""

    name: str
    samples: tuple[PlannedSample, ...]


@dataclass(frozen=True, kw_only=True)
class BuildPlan:
    """What the input becomes."""

    shards: tuple[ShardPlan, ...]
    quarantined: tuple[QuarantineRow, ...]
    """Files that are rejected by their header, and contradicting duplicates."""
    left_out: tuple[ScannedFile, ...]
    """Images that are no frontal chest X-rays, and masks that are pictures among the images."""
    unlabeled: tuple[ScannedFile, ...]
    """Training files without a row in the masks CSV."""
    keeps_unlabeled: bool
    """Whether these are samples, too."""
    missing: tuple[str, ...]
    """Ids of the masks CSV without a file, sorted."""
    found_in: Mapping[Split, int]
    """Files found, by split."""
    named_otherwise: int
    """Training files that are not used, and whose other id (see ``IdSource``) is in the masks CSV."""
    merged_duplicates: int
    """Byte-identical copies that are not used."""
    renamed: int
    """Samples whose file name differs from their image id."""
    pictures: int
    """Samples that are PNG or JPEG files, of which no header is known."""
    grouped_by: GroupedBy
    id_source: IdSource
    digest: str
    """SHA-256 of all of the above and of the masks."""

    @property
    def found(self) -> int:
        """Files found."""
        return sum(self.found_in.values())

    @property
    def planned_splits(self) -> tuple[Split, ...]:
        """The splits that have samples."""
        return tuple(dict.fromkeys(sample.source.split for shard in self.shards for sample in shard.samples))

    @property
    def training_patients(self) -> npt.NDArray[np.int32]:
        """(n,) patient of each training image; -1 when unknown."""
        samples = [sample for shard in self.shards for sample in shard.samples]
        return np.array([sample.patient for sample in samples if sample.mask is not None], np.int32)

    @property
    def unlabeled_patients(self) -> npt.NDArray[np.int32]:
        """(n,) patient of each unlabeled image that is kept; -1 when unknown."""
        samples = [sample for shard in self.shards for sample in shard.samples]
        return np.array([sample.patient for sample in samples if sample.source.split == "unlabeled"], np.int32)


def make(
    scanned: Sequence[ScannedFile | QuarantineRow],
    masks: Mapping[str, str],
    patients: Mapping[str, str] | None,
    *,
    id_source: IdSource = "uid",
    ignore_patient_id: bool = False,
    include_non_frontal: bool = False,
    keep_unlabeled: bool = False,
    shard_size: int = SHARD_SIZE,
    file_digest: Callable[[Location], str] = sha256,
) -> BuildPlan:
    """Plan the dataset.

    Args:
        scanned: The result for every file found, in any order.
        masks: Run lengths by image id.
        patients: Patient by image id; None groups by the files' PatientID.
        id_source: What the image ids are.
        ignore_patient_id: Without ``patients``, count each image as a patient.
        include_non_frontal: Whether images that are no frontal chest X-rays become samples too.
        keep_unlabeled: Whether training files without a row in the masks CSV become samples too.
        shard_size: Images in a shard.
        file_digest: Digest of a file's bytes; asked only for files that share an image id.
    """
    by_uid = sorted((item for item in scanned if isinstance(item, ScannedFile)), key=_sort_key)
    images, masks_among_them = _part_masks(by_uid)
    headers, without_id = _by_uid(images) if id_source == "uid" else _by_file_name(images)
    quarantined = [item for item in scanned if isinstance(item, QuarantineRow)] + without_id
    kept, duplicates = _resolve_duplicates(headers, id_source, file_digest)
    frontal, left_out = _partition(kept, lambda item: include_non_frontal or not item.exclusion)
    left_out = sorted(left_out + masks_among_them, key=_sort_key)
    used, unlabeled = _partition(frontal, lambda item: item.source.split == "test" or item.image_id in masks)
    if keep_unlabeled:
        used += [replace(item, source=replace(item.source, split="unlabeled")) for item in unlabeled]
    # Not by path: directories are named after people, and the order of the rows would reveal the order of their names.
    used.sort(key=lambda item: (paths.SPLITS.index(item.source.split), item.image_id))
    quarantined = sorted(quarantined + duplicates, key=lambda item: (item.split != "train", item.file))
    groups, grouped_by = _patient_groups(used, patients, ignore_patient_id)
    samples = list(_planned_samples(used, groups, masks, id_source))
    present = {item.image_id for item in headers}
    plan = BuildPlan(
        shards=tuple(_shard_plans(samples, shard_size)),
        quarantined=tuple(quarantined),
        left_out=tuple(left_out),
        unlabeled=tuple(unlabeled),
        keeps_unlabeled=keep_unlabeled,
        missing=tuple(sorted(image_id for image_id in masks if image_id not in present)),
        found_in=Counter(_split(item) for item in scanned),
        named_otherwise=_count_named_otherwise(by_uid, used + left_out, masks, id_source),
        merged_duplicates=len(scanned) - len(quarantined) - len(kept) - len(masks_among_them),
        renamed=sum(item.stem != item.image_id for item in used),
        pictures=sum(item.is_picture for item in used),
        grouped_by=grouped_by,
        id_source=id_source,
        digest="",
    )
    states = {item.source: (item.size, item.modified_ns) for item in used}
    return replace(plan, digest=_digest(plan, states, shard_size))


def _sort_key(item: ScannedFile) -> tuple[bool, str]:
    return item.source.split != "train", item.source.file


def _split(item: ScannedFile | QuarantineRow) -> Split:
    return item.source.split if isinstance(item, ScannedFile) else item.split


def _part_masks(headers: Sequence[ScannedFile]) -> tuple[list[ScannedFile], list[ScannedFile]]:
    """Part the images from masks that are pictures among them, before a mask is another file of its image's id.

    An all-black picture is a mask where others are, of an image without a finding; elsewhere it is an image, if flat.
    """
    places = {(item.source.split, directory(item)) for item in headers if item.drawn == "mask"}
    images, masks = _partition(
        headers, lambda item: not item.drawn or (item.source.split, directory(item)) not in places
    )
    return images, [replace(item, exclusion=MASK) for item in masks]


def directory(item: ScannedFile) -> str:
    """Return the directory of a file below that of its split."""
    return item.source.file.rpartition("/")[0] or "."


def _by_uid(headers: Sequence[ScannedFile]) -> tuple[list[ScannedFile], list[QuarantineRow]]:
    """Quarantine the files without a usable SOP Instance UID."""
    without = [
        scan.quarantine_row(
            item.source,
            "",
            FileRejectedError(Reason.NO_ID, "header", item.id_problem, "the image's id in SOP Instance UID", OTHER_ID),
        )
        for item in headers
        if item.id_problem
    ]
    return [item for item in headers if not item.id_problem], without


def _by_file_name(headers: Sequence[ScannedFile]) -> tuple[list[ScannedFile], list[QuarantineRow]]:
    """Give each file its name as its id; quarantine those whose name is none."""
    named: list[ScannedFile] = []
    without: list[QuarantineRow] = []
    for item in headers:
        if problem := image_ids.find_problem(item.stem):
            error = FileRejectedError(
                Reason.NO_ID, "plan", f"a file name that {problem}", "a name that can be an id", "rename the file"
            )
            without.append(scan.quarantine_row(item.source, "", error))
        else:
            named.append(replace(item, image_id=item.stem))
    return named, without


def _count_named_otherwise(
    by_uid: Sequence[ScannedFile], known: Sequence[ScannedFile], masks: Collection[str], id_source: IdSource
) -> int:
    """Count the training files that are not used or left out, and would have a mask by their other id."""
    placed = {item.source for item in known}
    # Another file of an image that is used has its mask already.
    used = {item.image_id for item in by_uid if item.source in placed}
    # A picture has no other id.
    others = (
        item
        for item in by_uid
        if item.source.split == "train"
        and item.source not in placed
        and item.stem != item.image_id
        and item.image_id not in used
    )
    return sum((item.stem if id_source == "uid" else item.image_id) in masks for item in others)


def _partition(
    items: Sequence[ScannedFile], condition: Callable[[ScannedFile], bool]
) -> tuple[list[ScannedFile], list[ScannedFile]]:
    """Divide items into those that fulfil a condition and the others, each in the order given."""
    return [item for item in items if condition(item)], [item for item in items if not condition(item)]


def _resolve_duplicates(
    headers: Sequence[ScannedFile], id_source: IdSource, file_digest: Callable[[Location], str]
) -> tuple[list[ScannedFile], list[QuarantineRow]]:
    """Keep the first of byte-identical files of an image; when they differ, the whole one where others are cut off.

    Otherwise all of them are quarantined: nobody can tell which is the right one.
    """
    by_image: dict[tuple[str, str], list[ScannedFile]] = defaultdict(list)
    for item in headers:
        by_image[item.source.split, item.image_id].append(item)
    kept: list[ScannedFile] = []
    quarantined: list[QuarantineRow] = []
    for files in by_image.values():
        if len(files) == 1:
            kept.append(files[0])
            continue
        digests: dict[ScannedFile, str] = {}
        for item in files:
            try:
                digests[item] = file_digest(item.source.path)
            except FileRejectedError as error:
                quarantined.append(scan.quarantine_row(item.source, item.image_id, error))
        if not digests:
            continue
        whole = max(digests, key=lambda item: item.size)
        others = [item for item in digests if digests[item] != digests[whole]]
        if all(_is_cut_off(item, whole) for item in others):
            kept.append(whole)
            quarantined.extend(_cut_off(item, whole) for item in others)
        else:
            quarantined.extend(_duplicate(item, list(digests), id_source) for item in digests)
    return kept, quarantined


def _is_cut_off(item: ScannedFile, whole: ScannedFile) -> bool:
    try:
        return item.size < whole.size and is_beginning(item.source.path, whole.source.path)
    except FileRejectedError:
        return False


def _cut_off(item: ScannedFile, whole: ScannedFile) -> QuarantineRow:
    error = FileRejectedError(
        Reason.DUPLICATE,
        "plan",
        f"the first {item.size} of {whole.size} bytes of {whole.source.file}",
        "one file per image id",
        "leave it out: the longer one is used",
    )
    return scan.quarantine_row(item.source, item.image_id, error)


def _duplicate(item: ScannedFile, files: Sequence[ScannedFile], id_source: IdSource) -> QuarantineRow:
    others = [other.source.file for other in files if other is not item]
    # The id of a picture is its name already.
    by_uid = id_source == "uid" and not any(file.is_picture for file in files)
    action = ANOTHER_ID if by_uid else "keep the right one, or rename them"
    error = FileRejectedError(
        Reason.DUPLICATE,
        "plan",
        f"{len(files)} files with this image id and different bytes, also {others[0]}",
        "one file per image id",
        action,
    )
    return scan.quarantine_row(item.source, item.image_id, error)


def _patient_groups(
    used: Sequence[ScannedFile], patients: Mapping[str, str] | None, ignore_patient_id: bool
) -> tuple[list[int], GroupedBy]:
    """Number the patients in the order of their first image id, which is in the table too.

    So the numbers reveal which images belong together, and nothing about the patients' ids or the paths.
    """
    if patients is None and ignore_patient_id:
        return [-1] * len(used), "none"
    if patients is None:
        names = [item.patient_id for item in used]
    else:
        # Of unlabeled images alone, so that all else is the same with them and without them.
        by_id = {} if ignore_patient_id else _names_by_patient_id(used, patients)
        others = [by_id.get(item.patient_id, "") if item.source.split == "unlabeled" else "" for item in used]
        names = [patients.get(item.image_id) or other for item, other in zip(used, others, strict=True)]
    numbers: dict[str, int] = {}
    groups = [numbers.setdefault(name, len(numbers)) if name else -1 for name in names]
    if patients is not None:
        return groups, "patients csv"
    return groups, "dicom" if numbers else "none"


def _names_by_patient_id(used: Sequence[ScannedFile], patients: Mapping[str, str]) -> dict[str, str]:
    """Return the patient in the CSV of each PatientID, where all images with this PatientID that it names are his.

    A PatientID that is another in every file, as in SIIM-ACR, tells nothing, and so does one that all files share.
    """
    found: dict[str, set[str]] = {}
    for item in used:
        if item.patient_id and item.image_id in patients:
            found.setdefault(item.patient_id, set()).add(patients[item.image_id])
    return {patient_id: names.pop() for patient_id, names in found.items() if len(names) == 1}


def _planned_samples(
    used: Sequence[ScannedFile], groups: Sequence[int], masks: Mapping[str, str], id_source: IdSource
) -> Iterator[PlannedSample]:
    for split, group_of_split in groupby(zip(used, groups, strict=True), key=lambda pair: pair[0].source.split):
        pairs = list(group_of_split)
        for (item, group), wds_key in zip(pairs, tar.keys([item.image_id for item, _ in pairs]), strict=True):
            mask = masks[item.image_id] if split == "train" else None
            id_in_file = item.image_id if id_source == "uid" else ""
            yield PlannedSample(item.source, item.image_id, wds_key, group, mask, id_in_file)


def _shard_plans(samples: Iterable[PlannedSample], shard_size: int) -> Iterator[ShardPlan]:
    for split, samples_of_split in groupby(samples, key=lambda sample: sample.source.split):
        chosen = list(samples_of_split)
        for number, start in enumerate(range(0, len(chosen), shard_size)):
            yield ShardPlan(paths.shard_name(split, number), tuple(chosen[start : start + shard_size]))


def _digest(plan: BuildPlan, states: Mapping[scan.Source, tuple[int, int]], shard_size: int) -> str:
    """Digest the plan.

    A file's size and the time of its last modification represent its content: reading all files would cost as much as
    building.
    """
    digest = hashlib.sha256()

    def add(*words: object) -> None:
        digest.update(("\t".join(map(str, words)) + "\n").encode("utf-8", "surrogateescape"))

    add("plan", paths.FORMAT_VERSION, shard_size, plan.found, plan.merged_duplicates, plan.grouped_by, plan.id_source)
    for shard in plan.shards:
        for sample in shard.samples:
            state = states[sample.source]
            add(shard.name, sample.source.file, *state, sample.image_id, sample.wds_key, sample.patient, sample.mask)
    for row in plan.quarantined:
        add("quarantined", row.split, row.file, row.image_id, row.reason)
    for item in plan.left_out:
        add("left out", item.source.split, item.source.file, item.image_id, item.exclusion)
    for item in plan.unlabeled:
        add("unlabeled", item.source.file, item.image_id)
    for image_id in plan.missing:
        add("missing", image_id)
    return digest.hexdigest()
