"""What is other about an input than about that which a directory was built from, for the message that refuses it."""

import hashlib
from collections.abc import Callable, Iterator
from itertools import combinations
from pathlib import Path

from pneumo.dataset import paths, quarantine
from pneumo.dataset.input_record import InputRecord, OtherInputError
from pneumo.dataset.manifest import Manifest
from pneumo.dataset.options import BuildInputs, BuildOptions
from pneumo.dataset.plan import BuildPlan, PlannedSample
from pneumo.dataset.table import SampleTable
from pneumo.runtime.errors import UserError, list_some

Planner = Callable[..., BuildPlan]
"""``plan.make`` of the files that were found: takes other values of its keywords."""


def explain(
    out: Path, other: OtherInputError, plan: BuildPlan, planner: Planner, inputs: BuildInputs, options: BuildOptions
) -> UserError:
    """Return the error of a directory built from another input, with the flags or the images that differ.

    Args:
        out: The directory.
        other: Its input.
        plan: That of the present input.
        planner: Plans the same files with other switches.
        inputs: The present input.
        options: The present options.
    """
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
        f"{out}: {other.what} of other files, masks or patients (a file's name, size and time of modification count)",
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
    now = {
        "include_non_frontal": options.include_non_frontal,
        "keep_unlabeled": inputs.keep_unlabeled,
        "ignore_patient_id": inputs.ignore_patient_id,
    }
    # With --patients, nothing depends on the patients of the files.
    switches = [name for name in now if name != "ignore_patient_id" or not inputs.patients]
    tried = [list(names) for number in range(1, len(switches) + 1) for names in combinations(switches, number)]
    for changed in tried:
        if planner(**{name: not now[name] for name in changed}).digest == record.digest:
            return [f"{'without' if now[name] else 'with'} --{name.replace('_', '-')}" for name in changed]
    return []


def _differences(out: Path, plan: BuildPlan) -> Iterator[str]:
    """Yield how a plan differs from a finished dataset; nothing when only the sizes, times or names of files do."""
    table = SampleTable.read(out, other_folds=True)
    planned = {(s.source.split, s.image_id): s for shard in plan.shards for s in shard.samples}
    built = {key: row for row, key in enumerate(zip(table.split.tolist(), table.image_id.tolist(), strict=True))}
    # Without the list of what was quarantined, nobody knows which of the others are new.
    is_known = quarantine.is_list(out / paths.QUARANTINE)
    added = planned.keys() - built.keys() - quarantine.read_images(out) if is_known else set()
    missing = built.keys() - planned.keys()
    for what, keys in (("images added", added), ("images missing", missing)):
        if keys:
            yield f"{what}: {list_some(image_id for _, image_id in sorted(keys))}"
    both = [key for key in built if key in planned]
    masks = [key[1] for key in both if _mask_digest(planned[key]) != table.rle_sha256[built[key]].decode()]
    if masks:
        yield f"masks changed: {list_some(masks)}"
    # The numbers themselves depend on images that are not in both.
    pairs = {(planned[key].patient, int(table.patient[built[key]])) for key in both}
    if len(pairs) > len({ours for ours, _ in pairs}) or len(pairs) > len({theirs for _, theirs in pairs}):
        yield "images grouped by other patients"
    manifest = Manifest.read(out)
    counts = {
        "files found": (manifest.found, plan.found),
        "left out": (manifest.left_out, len(plan.left_out)),
        "without a mask": (manifest.unlabeled + manifest.unlabeled_samples, len(plan.unlabeled)),
        "masks without a file": (manifest.missing, len(plan.missing)),
    }
    yield from (f"{what}: {old} -> {new}" for what, (old, new) in counts.items() if old != new)


def _mask_digest(sample: PlannedSample) -> str:
    return "" if sample.mask is None else hashlib.sha256(sample.mask.encode("ascii")).hexdigest()
