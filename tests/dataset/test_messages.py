import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from build_data import OPTIONS

from pneumo.dataset.build import build
from pneumo.runtime.errors import UserError


@pytest.mark.parametrize(
    ("patients", "message", "grouped_by"),
    [
        ("csv", None, "patients csv"),
        ("shared", "distinguished by PatientID", "dicom"),
        ("own", "folds may leak", "dicom"),
    ],
)
def test_how_patients_are_distinguished_is_logged(
    make_tree, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch,
    patients: str, message: str | None, grouped_by: str,
) -> None:  # fmt: skip
    monkeypatch.setattr("pneumo.runtime.console.log.propagate", True)
    made = make_tree(train=6, test=0)
    if patients == "own":
        for number, path in enumerate(sorted(made.inputs.dicom.rglob("*.dcm"))):
            data = path.read_bytes()
            place = data.index(b"secret-")
            path.write_bytes(data[: place + 7] + str(number).encode() + data[place + 8 :])
    inputs = made.inputs if patients == "csv" else replace(made.inputs, patients=None)
    manifest = build(inputs, tmp_path / "out", replace(OPTIONS, workers=1))
    assert manifest.grouped_by == grouped_by
    if message is None:
        assert "no patients CSV" not in caplog.text
    else:
        assert message in caplog.text


def test_more_folds_than_images_are_refused_and_no_patient_is_blamed(
    make_tree, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pneumo.runtime.console.log.propagate", True)
    made = make_tree(train=6, test=0)
    patients = tmp_path / "patients.csv"
    patients.write_text("ImageId,PatientId\n" + "".join(f"{name},own-{name}\n" for name in made.masks))
    with pytest.raises(UserError, match="--num-folds 7, and"):
        build(replace(made.inputs, patients=patients), tmp_path / "out", replace(OPTIONS, workers=1, num_folds=7))
    assert "of one patient" not in caplog.text


def test_test_images_that_are_training_images_are_logged(
    tree, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pneumo.runtime.console.log.propagate", True)
    copied = shutil.copytree(tree.inputs.dicom, tmp_path / "again")
    manifest = build(replace(tree.inputs, test_dicom=copied), tmp_path / "out", replace(OPTIONS, workers=1))
    assert (manifest.train, manifest.test, manifest.merged_duplicates) == (24, 24, 0)
    assert "24 test images are training images too" in caplog.text
