"""A dataset of which a third of the training images have no label."""

import csv
from pathlib import Path

from pneumo.dataset.build import build
from pneumo.dataset.options import BuildInputs, BuildOptions
from pneumo.synthetic.tree import SyntheticTree

UNLABELED = 10
"""Images whose rows are taken from the masks CSV; the first of them has the patient of a labeled image."""


def build_dataset(tree: SyntheticTree, directory: Path, *, keep_unlabeled: bool = True, seed: int = 0) -> Path:
    """Build the dataset of a tree without some of its labels, in two folds; return its directory."""
    with tree.masks.open() as file:
        rows = list(csv.reader(file))
    ids = list(dict.fromkeys(row[0] for row in rows[1:]))
    without = set(ids[-UNLABELED:])
    (directory / "masks.csv").write_text("\n".join(",".join(row) for row in rows if row[0] not in without) + "\n")
    with tree.patients.open() as file:
        patients = dict(list(csv.reader(file))[1:])
    patients |= {image_id: f"unlabeled {image_id}" for image_id in without}
    patients[ids[-UNLABELED]] = patients[ids[0]]
    lines = [",".join(row) for row in patients.items()]
    (directory / "patients.csv").write_text("\n".join(["ImageId,PatientId", *lines]) + "\n")
    inputs = BuildInputs(
        dicom=tree.dicom,
        test_dicom=tree.test_dicom,
        masks=directory / "masks.csv",
        patients=directory / "patients.csv",
        keep_unlabeled=keep_unlabeled,
    )
    build(inputs, directory / "dataset", BuildOptions(num_folds=2, workers=1, seed=seed))
    return directory / "dataset"
