"""Unlabeled images: kept when asked for, beside a dataset that is otherwise the same, and never where they leak."""

import shutil
from dataclasses import replace
from pathlib import Path

import pydicom
import pytest
from build_data import OPTIONS, contents, rows, write_one

from pneumo.dataset import oddities, paths, unlabeled
from pneumo.dataset.build import build
from pneumo.dataset.manifest import Manifest
from pneumo.dataset.options import BuildInputs
from pneumo.dataset.shard_reader import ShardReader
from pneumo.dataset.table import SampleTable
from pneumo.dataset.verify import check, summary
from pneumo.runtime.errors import UserError

ALONE, RELATED, TWIN, OF_TEST, SAME_ID = "9.1", "9.2", "9.3", "9.4", "9.5"


def ids(table: SampleTable, chosen: object) -> set[str]:
    return set(table.image_id[chosen].tolist())


def picture(directory: Path, image_id: str) -> Path:
    return next(directory.rglob(f"{image_id}.dcm"))


def recoded(source: Path, target: Path, image_id: str) -> None:
    """Copy a DICOM under another id: other bytes of the file, the same of its image."""
    dataset = pydicom.dcmread(source)
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = image_id
    dataset.save_as(target)


@pytest.fixture
def inputs(copied_inputs: BuildInputs) -> BuildInputs:
    """The tree with unlabeled images: of nobody else, of a labeled patient, and copies of three kinds."""
    labeled = SampleTable.read(Path(build_once(copied_inputs)))
    train, test = labeled.image_id[0], labeled.image_id[labeled.select("test")[0]]
    write_one(copied_inputs.dicom / "alone.dcm", ALONE, seed=1, patient_id="nobody")
    write_one(copied_inputs.dicom / "related.dcm", RELATED, seed=2)
    recoded(picture(copied_inputs.dicom, train), copied_inputs.dicom / "twin.dcm", TWIN)
    recoded(picture(copied_inputs.test_dicom, test), copied_inputs.dicom / "of_test.dcm", OF_TEST)
    write_one(copied_inputs.dicom / "same_id.dcm", SAME_ID, seed=3)
    write_one(copied_inputs.test_dicom / "same_id.dcm", SAME_ID, seed=4)
    patient = dict(line.split(",") for line in copied_inputs.patients.read_text().splitlines())[train]
    with copied_inputs.patients.open("a") as file:
        file.write(f"{RELATED},{patient}\n")
    return copied_inputs


def build_once(inputs: BuildInputs) -> Path:
    out = inputs.dicom.parent / "before"
    build(inputs, out, OPTIONS)
    return out


def test_all_else_in_the_dataset_is_the_same(inputs: BuildInputs, tmp_path: Path) -> None:
    without = build(inputs, tmp_path / "without", OPTIONS)
    kept = build(replace(inputs, keep_unlabeled=True), tmp_path / "kept", OPTIONS)
    assert (without.samples, without.unlabeled, without.unlabeled_samples) == (30, 5, 0)
    assert (kept.samples, kept.train, kept.test, kept.unlabeled, kept.unlabeled_samples) == (35, 24, 6, 0, 5)
    assert "unlabeled_samples" not in paths.manifest(tmp_path / "without").read_text()
    before, after = contents(tmp_path / "without"), contents(tmp_path / "kept")
    new = {name for name in after if "unlabeled" in name}
    assert new == {f"shards/unlabeled-00000{n}.{end}" for n in (0, 1) for end in ("tar", "idx")}
    other = {paths.MANIFEST, paths.SAMPLES}
    assert {name: data for name, data in after.items() if name not in new | other} == {
        name: data for name, data in before.items() if name not in other
    }
    tables = [SampleTable.read(tmp_path / name) for name in ("without", "kept")]
    for name in ("image_id", "fold", "patient", "offset", "sha256", "rle_sha256", "positive"):
        assert getattr(tables[0], name).tolist() == getattr(tables[1], name)[:30].tolist(), name
    extra = tables[1].take(tables[1].select("unlabeled"))
    assert (set(extra.fold), set(extra.positive), set(extra.mask_area), set(extra.rle_bytes)) == (
        {-1},
        {False},
        {-1},
        {0},
    )
    assert {row["image_id"] for row in rows(tmp_path / "kept" / paths.UNMATCHED)} == ids(extra, slice(None))
    assert Manifest.read(tmp_path / "kept") == kept


def test_a_fold_learns_from_no_image_of_its_patients_and_from_no_copy(inputs: BuildInputs, tmp_path: Path) -> None:
    build(replace(inputs, keep_unlabeled=True), tmp_path / "out", OPTIONS)
    table = SampleTable.read(tmp_path / "out")
    assert ids(table, unlabeled.copies(table)) == {TWIN, OF_TEST, SAME_ID}
    # The patient of the training image that row 0 has.
    own = int(table.fold[0])
    for fold in range(3):
        assert ids(table, unlabeled.usable(table, fold)) == ({ALONE} if fold == own else {ALONE, RELATED})
    assert "3 unlabeled images are a copy of another image" in "\n".join(oddities.describe(table))


def test_a_patient_whom_only_the_patient_id_tells_is_not_learned_from(
    inputs: BuildInputs, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The patients CSV names the labeled images alone."""
    monkeypatch.setattr("pneumo.runtime.console.log.propagate", True)
    table = SampleTable.read(inputs.dicom.parent / "before")
    patient_id = pydicom.dcmread(picture(inputs.dicom, table.image_id[0])).PatientID
    write_one(inputs.dicom / "same_patient.dcm", "9.8", seed=5, patient_id=patient_id)
    build(replace(inputs, keep_unlabeled=True), tmp_path / "out", OPTIONS)
    table = SampleTable.read(tmp_path / "out")
    own = int(table.fold[0])
    assert "9.8" not in ids(table, unlabeled.usable(table, own))
    assert "9.8" in ids(table, unlabeled.usable(table, (own + 1) % 3))
    unknown = int((table.patient[table.select("unlabeled")] < 0).sum())
    assert unknown > 0
    assert (
        f"{unknown} unlabeled image{'s are of unknown patients' if unknown > 1 else ' is of an unknown patient'}"
        in caplog.text
    )


def test_of_two_copies_neither_is_of_the_folds_patient(inputs: BuildInputs, tmp_path: Path) -> None:
    """The one that is used is nobody's, the other one has the patient."""
    recoded(inputs.dicom / "alone.dcm", inputs.dicom / "again.dcm", "9.9")
    patients = dict(line.split(",") for line in inputs.patients.read_text().splitlines())
    with inputs.patients.open("a") as file:
        file.write(f"9.9,{patients[RELATED]}\n")
    build(replace(inputs, keep_unlabeled=True), tmp_path / "out", OPTIONS)
    table = SampleTable.read(tmp_path / "out")
    assert ids(table, unlabeled.usable(table, int(table.fold[0]))) == set()
    assert ids(table, unlabeled.usable(table, (int(table.fold[0]) + 1) % 3)) == {ALONE, RELATED}


def test_damage_is_found_and_named(inputs: BuildInputs, tmp_path: Path) -> None:
    out = tmp_path / "out"
    build(replace(inputs, keep_unlabeled=True), out, OPTIONS)
    table = SampleTable.read(out)
    row = int(table.select("unlabeled")[0])
    tar = paths.shards(out) / str(table.shard[row])
    data = bytearray(tar.read_bytes())
    data[int(table.offset[row]) + 20] ^= 1
    tar.write_bytes(data)
    issues = [issue for _, found in check(out, table, 1) for issue in found]
    assert [issue.row for issue in issues] == [row]
    assert "of 0 training images and 0 test images and 1 unlabeled image" in summary(out, table, issues)
    with pytest.raises(ValueError, match="is of the split unlabeled and has no mask"):
        ShardReader(out, table).rle(row)
    # A run without its damaged images has none of these, whatever the ids of the test images.
    assert SAME_ID in ids(table.exclude([ALONE, SAME_ID]), table.exclude([ALONE, SAME_ID]).split == "test")
    assert not ids(table.exclude([ALONE, SAME_ID]), table.exclude([ALONE, SAME_ID]).split == "unlabeled") & {
        ALONE,
        SAME_ID,
    }


def test_an_image_that_cannot_be_read_is_quarantined(inputs: BuildInputs, tmp_path: Path) -> None:
    path = inputs.dicom / "alone.dcm"
    path.write_bytes(path.read_bytes()[:-400])
    manifest = build(replace(inputs, keep_unlabeled=True), tmp_path / "out", OPTIONS)
    assert (manifest.unlabeled_samples, manifest.quarantined, manifest.unlabeled) == (4, 1, 0)
    assert [(row["split"], row["image_id"]) for row in rows(tmp_path / "out" / paths.QUARANTINE)] == [
        ("unlabeled", ALONE)
    ]


def test_another_input_is_told_by_the_flag(inputs: BuildInputs, tmp_path: Path) -> None:
    build(inputs, tmp_path / "out", OPTIONS)
    with pytest.raises(UserError, match="a dataset that was built without --keep-unlabeled;"):
        build(replace(inputs, keep_unlabeled=True), tmp_path / "out", OPTIONS)
    # Without such images, the flag changes nothing.
    for file in inputs.dicom.glob("*.dcm"):
        file.unlink()
    shutil.rmtree(tmp_path / "out")
    build(inputs, tmp_path / "out", OPTIONS)
    assert build(replace(inputs, keep_unlabeled=True), tmp_path / "out", OPTIONS).unlabeled_samples == 0
    with pytest.raises(UserError, match="--keep-unlabeled without --masks"):
        replace(inputs, keep_unlabeled=True, masks=None)
