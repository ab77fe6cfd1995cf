"""A small tree of DICOM files with masks and patients, built by the product's own writer."""

import csv
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from build_data import OPTIONS

from pneumo.dataset.build import build
from pneumo.dataset.options import BuildInputs
from pneumo.masks import rle
from pneumo.synthetic.dicom_writer import write_dicom

ROOT = "1.2.826.0.1.3680043.8.498"


@dataclass(frozen=True)
class Tree:
    """Paths of a made-up input, and what is in it."""

    inputs: BuildInputs
    masks: dict[str, np.ndarray]
    patients: dict[str, str]


def draw(number: int, rows: int = 40, columns: int = 56) -> tuple[np.ndarray, np.ndarray]:
    """Return an image and its mask; three of four masks are empty, one has the image's last pixel."""
    rng = np.random.default_rng(number)
    image = np.add.outer(np.linspace(0, 120, rows), np.linspace(0, 120, columns)) + rng.integers(0, 16, (rows, columns))
    mask = np.zeros((rows, columns), np.uint8)
    if number % 4 == 0:
        mask[-(3 + number) :, -5:] = 1
    return image.astype(np.uint8), mask


def write_masks(path: Path, masks: dict[str, np.ndarray]) -> None:
    """Write the masks in Kaggle's first format; a mask of more than one column comes in two overlapping rows."""
    lines = ["ImageId, EncodedPixels"]
    for image_id, mask in masks.items():
        parts = [mask]
        if mask.any():
            parts = [mask.copy(), mask.copy()]
            parts[0][:, -2:] = 0
            parts[1][:, -5:-3] = 0
        lines += [f"{image_id}, {rle.encode(part)}" for part in parts]
    path.write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="session")
def make_tree(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Tree]:
    """Return a function that writes a tree: ``train`` labeled images of two per patient, ``test`` others."""

    def make(train: int = 24, test: int = 5) -> Tree:
        root = tmp_path_factory.mktemp("tree")
        masks, patients = {}, {}
        for number in range(train + test):
            image_id = f"{ROOT}.{number + 1}"
            image, mask = draw(number)
            split = "train" if number < train else "test"
            # Directory names run against the ids, so that path order and id order differ.
            path = root / split / f"study-{900 - number}" / "series" / f"{image_id}.dcm"
            path.parent.mkdir(parents=True)
            patient = f"secret-{number // 2}"
            write_dicom(
                path, image, image_id=image_id, patient_id=patient, view="PA", sex="F", age=40 + number,
                spacing_mm=7.0, syntax="explicit" if number % 5 == 4 else "jpeg", photometric="MONOCHROME2",
            )  # fmt: skip
            patients[image_id] = patient
            if split == "train":
                masks[image_id] = mask
        write_masks(root / "masks.csv", masks)
        with (root / "patients.csv").open("w", newline="") as file:
            csv.writer(file).writerows([("ImageId", "PatientId"), *patients.items()])
        inputs = BuildInputs(
            dicom=root / "train",
            test_dicom=root / "test" if test else None,
            masks=root / "masks.csv",
            patients=root / "patients.csv",
        )
        return Tree(inputs, masks, patients)

    return make


@pytest.fixture(scope="session")
def tree(make_tree: Callable[..., Tree]) -> Tree:
    """A tree that no test changes."""
    return make_tree()


@pytest.fixture(scope="session")
def built(tree: Tree, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dataset of ``tree``, six shards of training images and two of test images; no test changes it."""
    out = tmp_path_factory.mktemp("built") / "dataset"
    assert build(tree.inputs, out, OPTIONS) is not None
    return out


@pytest.fixture
def copied_inputs(tree: Tree, tmp_path: Path) -> BuildInputs:
    """A copy of the input that a test may damage."""
    root = shutil.copytree(tree.inputs.dicom.parent, tmp_path / "input")
    return BuildInputs(
        dicom=root / "train", test_dicom=root / "test", masks=root / "masks.csv", patients=root / "patients.csv"
    )
