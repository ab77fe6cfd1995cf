"""A directory that was built from another input: which flag, or which images."""

import csv
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from build_data import OPTIONS

from pneumo.dataset.build import build
from pneumo.dataset.options import BuildInputs
from pneumo.runtime.errors import UserError


def change_masks(inputs: BuildInputs) -> None:
    """Take one mask away, and change one of the others."""
    assert inputs.masks is not None
    header, *lines = inputs.masks.read_text().splitlines()
    last = next(line for line in reversed(lines) if line.endswith("-1"))
    lines.remove(last)
    lines[-1] = lines[-1].partition(",")[0] + ", 1 1"
    inputs.masks.write_text("\n".join([header, *lines]) + "\n")


def change_patients(inputs: BuildInputs) -> None:
    assert inputs.patients is not None
    with inputs.patients.open(newline="") as file:
        header, *rows = csv.reader(file)
    with inputs.patients.open("w", newline="") as file:
        csv.writer(file).writerows([header, *([image_id, "one"] for image_id, _ in rows[:6]), *rows[6:]])


def rename(inputs: BuildInputs) -> None:
    path = next(inputs.dicom.rglob("*.498.5.dcm"))
    path.rename(path.with_name("other.dcm"))


def remove(inputs: BuildInputs) -> None:
    assert inputs.test_dicom is not None
    next(inputs.test_dicom.rglob("*.498.25.dcm")).unlink()


UID = r"1\.2\.826\.0\.1\.3680043\.8\.498\."


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (change_masks, rf"images missing: 1 \({UID}24\); masks changed: 1 \({UID}\d+\); without a mask: 0 -> 1;"),
        (change_patients, "images grouped by other patients; expected the input that it was built from; for other"),
        (remove, rf"images missing: 1 \({UID}25\); files found: 29 -> 28;"),
        (rename, r"\(a file's name, size and time of modification count\); .* copy input with its times"),
    ],
)
def test_the_images_that_differ_are_named(
    copied_inputs: BuildInputs, built: Path, tmp_path: Path, change: Callable[[BuildInputs], None], message: str
) -> None:
    change(copied_inputs)
    with pytest.raises(UserError, match=f"/out: a dataset of other files, masks or patients.*{message}"):
        build(copied_inputs, shutil.copytree(built, tmp_path / "out"), OPTIONS)


@pytest.mark.parametrize("finished", [True, False])
@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"id": "file-name"}, "with --id uid"),
        ({"patients": None}, "with --patients"),
        ({"test_dicom": None}, "with --test-dicom"),
        ({"masks": None, "patients": None}, "with --masks and with --patients"),
    ],
)
def test_the_flag_that_differs_is_named(
    copied_inputs: BuildInputs, built: Path, tmp_path: Path, changed: dict[str, object], message: str, finished: bool
) -> None:
    out = tmp_path / "out"
    if finished:
        shutil.copytree(built, out)
    else:
        build(copied_inputs, out, replace(OPTIONS, task="0/2"))
    what = "a dataset" if finished else "an unfinished dataset"
    expected = f"/out: {what} that was built {message}; expected the same flags; give them as they were, or choose"
    with pytest.raises(UserError, match=expected):
        build(replace(copied_inputs, **changed), out, OPTIONS)


def test_a_switch_is_named_only_where_it_makes_the_input_the_same(copied_inputs: BuildInputs, tmp_path: Path) -> None:
    inputs = replace(copied_inputs, patients=None)
    build(inputs, tmp_path / "out", OPTIONS)
    other = replace(inputs, ignore_patient_id=True)
    with pytest.raises(UserError, match="that was built without --ignore-patient-id; expected the same flags"):
        build(other, tmp_path / "out", OPTIONS)
    remove(inputs)
    with pytest.raises(UserError, match=r"of other files, masks or patients: images missing: 1"):
        build(other, tmp_path / "out", OPTIONS)


def test_an_input_without_any_of_the_images_is_refused_too(copied_inputs: BuildInputs, tmp_path: Path) -> None:
    assert copied_inputs.test_dicom is not None
    build(BuildInputs(dicom=copied_inputs.test_dicom), tmp_path / "out", OPTIONS)
    with pytest.raises(
        UserError, match=r"of other files, masks or patients: images added: \d+ \(.*; images missing: \d"
    ):
        build(BuildInputs(dicom=copied_inputs.dicom), tmp_path / "out", OPTIONS)
