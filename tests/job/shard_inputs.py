"""Small inputs of job/shard.py, and the command in this process."""

from pathlib import Path

import numpy as np
from command_driver import call

from pneumo.synthetic.dicom_writer import write_dicom

UIDS = [f"1.2.826.0.1.3680043.8.498.7{number}" for number in range(4)]
NAMES = [f"ID_{number}" for number in range(4)]


def write_image(path: Path, pixels: np.ndarray, image_id: str, patient: str, *, syntax: str = "explicit") -> None:
    write_dicom(
        path, pixels, image_id=image_id, patient_id=patient, view="PA", sex="F", age=50, spacing_mm=0.2, syntax=syntax,
        photometric="MONOCHROME2",
    )  # fmt: skip


def write_images(directory: Path, ids: list[str], *, names: list[str] | None = None, patient: str = "p") -> None:
    """Write an image for each id, all different, named after its id by default; ``{}`` in the patient is a number."""
    directory.mkdir()
    for number, (image_id, name) in enumerate(zip(ids, names or ids, strict=True)):
        pixels = np.full((32, 32), 20 * number, np.uint8)
        write_image(directory / f"{name}.dcm", pixels, image_id, patient.format(number))


def write_masks(path: Path, ids: list[str]) -> Path:
    path.write_text("ImageId,EncodedPixels\n" + "".join(f"{image_id},0 40\n" for image_id in ids))
    return path


def call_shard(*words: object) -> tuple[object, str, str]:
    return call("shard", [*map(str, words), "--workers", "1", "--num-folds", "2"])
