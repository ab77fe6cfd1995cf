"""Which input a directory was built from, and what is other about the input of a later command, for its message.

An unfinished dataset has a record of its input in ``.build/plan.json``; of a finished one, dataset.json and the table
say what it was built from.
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Self

import numpy as np

from pneumo.dataset import paths, quarantine
from pneumo.dataset.manifest import GroupedBy, IdSource, Manifest
from pneumo.dataset.options import BuildInputs, BuildOptions
from pneumo.dataset.plan import BuildPlan, PlannedSample
from pneumo.dataset.table import SampleTable, Split
from pneumo.runtime import config, documents
from pneumo.runtime.config import config_dataclass
from pneumo.runtime.errors import UserError, list_some
from pneumo.runtime.files import publish_text

Planner = Callable[..., BuildPlan]
"""``plan.make`` of the files that were found: takes other values of its keywords."""


@config_dataclass
class InputRecord:
    """What is known of the input that a directory was built from: the content of .build/plan.json."""

    digest: str
    """That of the plan."""
    id_source: IdSource
    grouped_by: GroupedBy
    splits: tuple[Split, ...]
    """Those that have images."""

    @classmethod
    def of(cls, plan: BuildPlan) -> Self:
        """Return the record of a plan."""
        return cls(
            digest=plan.digest,
            id_source=plan.id_source,
            grouped_by=plan.grouped_by,
            splits=plan.planned_splits,
        )

    @classmethod
    def of_dataset(cls, manifest: Manifest) -> Self:
        """Return the record of a finished dataset."""
        counts: dict[Split, int] = {"train": manifest.train, "test": manifest.test}
        return cls(
            digest=manifest.digest,
            id_source=manifest.id_source,
            grouped_by=manifest.grouped_by,
            splits=tuple(split for split, count in counts.items() if count),
        )


class OtherInputError(Exception):
    """A directory was built from another input.

    Args:
        what: What the directory holds.
        record: Its input.
    """

    def __init__(self, what: str, record: InputRecord) -> None:
        super().__init__(what)
        self.what, self.record = what, record


def write_or_check(out: Path, plan: BuildPlan) -> None:
    """Record which input an unfinished dataset is built from, or check that it is this one.

    Raises:
        OtherInputError: When it is another one.
        UserError: When the record cannot be written or read.
    """
    path = paths.plan(out)
    try:
        if not path.is_file():
            publish_text(path, json.dumps(asdict(InputRecord.of(plan))) + "\n")
    except OSError as error:
        raise UserError(
            f"{out}: {error.strerror}", "a directory that can be written to", "choose another --out"
        ) from None
    try:
        record = config.from_json(InputRecord, documents.read(path), str(path))
    except (ValueError, UserError) as error:
        raise UserError(
            f"{path} cannot be read ({error.found if isinstance(error, UserError) else error})",
            "the record of the input that an unfinished dataset is built from",
            f"remove {out} and start the same command again, or choose another --out",
        ) from None
    if record.digest != plan.digest:
        raise OtherInputError("an unfinished dataset", record)


def explain(
    out: Path, other: OtherInputError, planner: Planner, inputs: BuildInputs, options: BuildOptions
) -> UserError:
    """Return the error of a directory built from another input, with the flags or the images that differ."""
    plan = planner()
    flags = _other_inputs(other.record, plan, inputs) or _other_switches(other.record, planner, inputs, options)
    if flags:
        return UserError(
            f"{out}: {other.what} that was built {' and '.join(flags)}",
            "the same flags",
            "give them as they were, or choose another --out",
        )
    differences = list(_differences(out, plan)) if paths.manifest(out).is_file() else []
    action = "for other input choose another --out, or remove this directory"
    if differences:
        return UserError(
            f"{out}: {other.what} of other files, masks or patients: {'; '.join(differences)}",
            "the input that it was built from",
            action,
        )
    return UserError(
        f"{out}: {other.what} of other files, masks or patients (a file's size and time of modification count)",
        "the input and the version of pneumo that it was started with",
        f"copy input with its times (cp -p, rsync -t); {action}",
    )


def _other_inputs(record: InputRecord, plan: BuildPlan, inputs: BuildInputs) -> list[str]:
    """Return the flags of input that certainly differ, as they were."""
    found = []
    if record.id_source != plan.id_source:
        found.append(f"with --id {record.id_source}")
    if (inputs.masks is None) != ("train" not in record.splits):
        found.append(f"{'with' if inputs.masks is None else 'without'} --masks")
    elif ("test" in record.splits) != ("test" in inputs.splits):
        found.append(f"{'with' if 'test' in record.splits else 'without'} --test-dicom")
    if (record.grouped_by == "patients csv") != (inputs.patients is not None):
        found.append(f"{'with' if inputs.patients is None else 'without'} --patients")
    return found


def _other_switches(record: InputRecord, planner: Planner, inputs: BuildInputs, options: BuildOptions) -> list[str]:
    """Return the switches with which the input would be the same, as they were; none when no other value helps."""
    now = {"include_non_frontal": options.include_non_frontal, "ignore_patient_id": inputs.ignore_patient_id}
    for changed in (["include_non_frontal"], ["ignore_patient_id"], list(now)):
        if planner(**{name: not now[name] for name in changed}).digest == record.digest:
            return [f"{'without' if now[name] else 'with'} --{name.replace('_', '-')}" for name in changed]
    return []


def _differences(out: Path, plan: BuildPlan) -> Iterator[str]:
    """Yield how a plan differs from a finished dataset; nothing when only the sizes, times or names of files do."""
    table = SampleTable.read(out, other_folds=True)
    planned = {(s.source.split, s.image_id): s for shard in plan.shards for s in shard.samples}
    built = {key: row for row, key in enumerate(zip(table.split.tolist(), table.image_id.tolist(), strict=True))}
    added = planned.keys() - built.keys() - quarantine.read_images(out)
    missing = built.keys() - planned.keys()
    for what, keys in (("images added", added), ("images missing", missing)):
        if keys:
            yield f"{what}: {list_some(image_id for _, image_id in sorted(keys))}"
    both = [key for key in built if key in planned]
    masks = [key[1] for key in both if _mask_digest(planned[key]) != table.rle_sha256[built[key]]]
    if masks:
        yield f"masks changed: {list_some(masks)}"
    # A patient's number is that of the first image, so that it differs where there are other images.
    patients = np.array([planned[key].patient for key in both])
    if not added and not missing and (patients != table.patient[[built[key] for key in both]]).any():
        yield "images grouped by other patients"
    manifest = Manifest.read(out)
    counts = {
        "files found": (manifest.found, plan.found),
        "left out": (manifest.left_out, len(plan.left_out)),
        "without a mask": (manifest.unlabeled, len(plan.unlabeled)),
        "masks without a file": (manifest.missing, len(plan.missing)),
    }
    yield from (f"{what}: {old} -> {new}" for what, (old, new) in counts.items() if old != new)


def _mask_digest(sample: PlannedSample) -> str:
    return "" if sample.mask is None else hashlib.sha256(sample.mask.encode("ascii")).hexdigest()
