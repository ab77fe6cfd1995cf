"""What the tests of a build share: options, a DICOM of one image, and reading what a build wrote."""

import csv
from pathlib import Path

import numpy as np

from pneumo.dataset.options import BuildOptions
from pneumo.synthetic.dicom_writer import write_dicom

OPTIONS = BuildOptions(workers=2, shard_size=4, num_folds=3)


def contents(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def write_one(
    path: Path, image_id: str, *, seed: int = 0, shape: tuple[int, int] = (32, 32), patient_id: str = "p"
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.random.default_rng(seed).integers(0, 255, shape, np.uint8)
    write_dicom(
        path, image, image_id=image_id, patient_id=patient_id, view="AP", sex="M", age=50,
        spacing_mm=0.2, syntax="jpeg", photometric="MONOCHROME2",
    )  # fmt: skip
