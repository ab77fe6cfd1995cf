import csv
import os
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pydicom
import pytest
from planted_modules import modules_run, plant_modules

from pneumo.masks import annotations, rle
from pneumo.runtime.errors import UserError
from pneumo.synthetic.dicom_tree import write_tree
from pneumo.synthetic.tree import SyntheticTree

# The ids of the test images are not UIDs, as in the second stage of the competition.
pytestmark = pytest.mark.filterwarnings("ignore:Invalid value for VR UI")

SIZE = 64
IMAGES, TEST_IMAGES = 45, 6


def make(root: Path, *, seed: int = 3, workers: int = 1) -> SyntheticTree:
    return write_tree(
        root, images=IMAGES, test_images=TEST_IMAGES, size=SIZE, positive_fraction=0.4, seed=seed, workers=workers
    )


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> SyntheticTree:
    return make(tmp_path_factory.mktemp("synthetic") / "tree")


@pytest.fixture(scope="module")
def datasets(tree: SyntheticTree) -> list[pydicom.Dataset]:
    return [pydicom.dcmread(path) for path in sorted(tree.dicom.rglob("*.dcm"))]


def rows_of(path: Path) -> list[tuple[str, str]]:
    with path.open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header[0] == "ImageId"
    return [(image_id, value) for image_id, value in rows]


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


PROGRAM = """
from pathlib import Path
from pneumo.synthetic.dicom_tree import write_tree
if __name__ == "__main__":
    write_tree(Path("tree"), images=2, test_images=1, size=32, positive_fraction=0.5, seed=1, workers=2)
"""


def test_its_processes_import_nothing_from_the_current_directory(tmp_path: Path) -> None:
    """In a process of its own, which has not started multiprocessing's resource tracker yet."""
    plant_modules(tmp_path)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "program.py").write_text(PROGRAM)
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    subprocess.run([sys.executable, "bin/program.py"], cwd=tmp_path, env=environment, check=True, timeout=300)
    assert (tmp_path / "tree" / "masks.csv").exists()
    assert modules_run(tmp_path) == []


def test_equal_seeds_write_equal_bytes_with_any_number_of_workers(tree: SyntheticTree, tmp_path: Path) -> None:
    again = make(tmp_path / "again", workers=2)
    assert contents(again.root) == contents(tree.root)
    other = make(tmp_path / "other", seed=4)
    assert not {image_id for image_id, _ in rows_of(other.masks)} & {image_id for image_id, _ in rows_of(tree.masks)}


def test_training_images_are_in_study_series_instance(tree: SyntheticTree) -> None:
    paths = [path.relative_to(tree.dicom) for path in tree.dicom.rglob("*.dcm")]
    assert len(paths) == IMAGES
    for path in paths:
        assert len(path.parts) == 3
        for part in (*path.parts[:2], path.stem):
            uid = pydicom.uid.UID(part)
            assert uid.is_valid
            assert part.startswith(pydicom.uid.PYDICOM_ROOT_UID)


def test_file_names_are_the_image_ids(tree: SyntheticTree) -> None:
    test_paths = list(tree.test_dicom.iterdir())
    assert len(test_paths) == TEST_IMAGES
    for path in [*test_paths, *tree.dicom.rglob("*.dcm")]:
        assert pydicom.dcmread(path, stop_before_pixels=True).SOPInstanceUID == path.stem
    assert all(path.stem.startswith("ID_") and len(path.stem) == 12 for path in test_paths)


def test_every_fifth_file_is_uncompressed_in_all_variants(datasets: list[pydicom.Dataset]) -> None:
    forms = Counter((d.file_meta.TransferSyntaxUID.name, d.BitsStored, d.PhotometricInterpretation) for d in datasets)
    assert forms["JPEG Baseline (Process 1)", 8, "MONOCHROME2"] == IMAGES * 4 // 5
    uncompressed = {form[1:]: count for form, count in forms.items() if form[0] == "Explicit VR Little Endian"}
    assert set(uncompressed) == {(bits, f"MONOCHROME{n}") for bits in (8, 16) for n in (1, 2)}
    assert sum(uncompressed.values()) == IMAGES // 5


def test_every_variant_shows_a_chest_of_the_same_brightness(datasets: list[pydicom.Dataset]) -> None:
    for dataset in datasets:
        gray = dataset.pixel_array / (2.0**dataset.BitsStored - 1)
        if dataset.PhotometricInterpretation == "MONOCHROME1":
            gray = 1 - gray
        assert gray.shape == (SIZE, SIZE)
        spine, lungs = gray[28:40, 30:34].mean(), gray[26:36, 14:20].mean()
        assert spine > lungs + 0.2


def test_masks_fit_the_images_and_the_positive_fraction_is_exact(
    tree: SyntheticTree, datasets: list[pydicom.Dataset]
) -> None:
    masks = annotations.read_masks(tree.masks)
    assert set(masks) == {d.SOPInstanceUID for d in datasets}
    areas = [int(rle.decode(text, SIZE, SIZE).sum()) for text in masks.values()]
    assert sum(area > 0 for area in areas) == round(0.4 * IMAGES)
    test_masks = rows_of(tree.test_masks)
    assert {image_id for image_id, _ in test_masks} == {path.stem for path in tree.test_dicom.iterdir()}
    assert len(test_masks) == TEST_IMAGES
    assert sum(text != rle.EMPTY for _, text in test_masks) == round(0.4 * TEST_IMAGES)


def test_some_masks_have_overlapping_rows(tree: SyntheticTree) -> None:
    rows = defaultdict(list)
    for image_id, text in rows_of(tree.masks):
        rows[image_id].append(text)
    several = [texts for texts in rows.values() if len(texts) > 1]
    assert several
    for texts in several:
        parts = np.stack([rle.decode(text, SIZE, SIZE) for text in texts])
        assert parts.any(axis=(1, 2)).all()
        assert (parts.sum(axis=0) > 1).any()


def test_some_patients_have_several_images_and_none_is_in_both_splits(
    tree: SyntheticTree, datasets: list[pydicom.Dataset]
) -> None:
    patients = dict(rows_of(tree.patients))
    assert {d.SOPInstanceUID: d.PatientID for d in datasets} == patients
    images = Counter(patients.values())
    assert max(images.values()) in (2, 3)
    assert sum(count == 1 for count in images.values()) > len(images) / 2
    test_patients = {pydicom.dcmread(path).PatientID for path in tree.test_dicom.iterdir()}
    assert not test_patients & set(images)


def test_a_patient_keeps_sex_and_age(datasets: list[pydicom.Dataset]) -> None:
    persons = defaultdict(set)
    for d in datasets:
        persons[d.PatientID].add((d.PatientSex, d.PatientAge))
        assert d.ViewPosition in {"PA", "AP"}
        assert float(d.PixelSpacing[0]) == pytest.approx(0.35 * 1024 / SIZE)
    assert all(len(described) == 1 for described in persons.values())


@pytest.mark.parametrize(("fraction", "positives"), [(0.0, 0), (1.0, 3)])
def test_fraction_of_positives_reaches_both_ends(tmp_path: Path, fraction: float, positives: int) -> None:
    tree = write_tree(tmp_path / "t", images=3, test_images=0, size=64, positive_fraction=fraction, seed=0)
    assert len({image_id for image_id, text in rows_of(tree.masks) if text != rle.EMPTY}) == positives
    assert list(tree.test_dicom.iterdir()) == []
    assert rows_of(tree.test_masks) == []


def test_an_existing_directory_is_not_changed(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="exists; expected a new directory; remove it or name another"):
        write_tree(tmp_path, images=1, test_images=0, size=64, positive_fraction=0.5, seed=0)
    assert list(tmp_path.iterdir()) == []
