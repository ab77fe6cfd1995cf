"""A synthetic dataset of chest X-rays as DICOM files, laid out like the data of the competition.

``SyntheticTree`` has the layout. Most files are 8-bit JPEG Baseline like those of the competition. Every fifth is
uncompressed, and these alternate between 8 and 16 bits, and between MONOCHROME2 and MONOCHROME1.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydicom.uid import PYDICOM_ROOT_UID

from pneumo.dataset.limits import Limits
from pneumo.dataset.workers import Pool, WorkerDied
from pneumo.dicom.image_codec import Pixels
from pneumo.masks import rle
from pneumo.runtime.console import Progress
from pneumo.runtime.errors import UserError
from pneumo.runtime.files import publish_csv, publish_directory
from pneumo.synthetic.anatomy import draw_anatomy
from pneumo.synthetic.dicom_writer import write_dicom
from pneumo.synthetic.phantom import draw
from pneumo.synthetic.tree import SyntheticTree

SPACING_MM = 0.35
"""Pixel spacing of a 1024 x 1024 image, 36 cm high; that of smaller images is larger."""
SPLITS = ("train", "test")
LARGEST_LIMITS = Limits(time_limit=86_400, memory_limit=1024)
"""For processes that draw, which read no file."""


@dataclass(frozen=True, kw_only=True)
class _ImagePlan:
    """One image to draw and write."""

    seed: int
    split: int
    """Index into ``SPLITS``."""
    index: int
    """Index of the image in its split."""
    patient: int
    size: int
    positive: bool

    @property
    def image_id(self) -> str:
        if self.split:
            return f"ID_{_number(self.seed, self.index) % 16**9:09x}"
        return self._uid(3, self.index)

    @property
    def patient_id(self) -> str:
        return f"{SPLITS[self.split]}-{self.patient:05d}"

    @property
    def path(self) -> str:
        """Path of the file, relative to the root."""
        if self.split:
            return f"test/{self.image_id}.dcm"
        return f"dicom/{self._uid(1, self.patient)}/{self._uid(2, self.index)}/{self.image_id}.dcm"

    def _uid(self, level: int, number: int) -> str:
        return f"{PYDICOM_ROOT_UID}{_number(self.seed, 0) % 10**12 + 1}.{level}.{number + 1}"


def write_tree(
    root: Path,
    *,
    images: int,
    test_images: int,
    size: int,
    positive_fraction: float,
    seed: int,
    workers: int = 1,
) -> SyntheticTree:
    """Write a synthetic dataset; equal arguments give equal bytes, whatever the number of workers.

    Args:
        root: Directory to create; it is renamed into place when it is complete.
        images: Number of training images.
        test_images: Number of test images, of other patients.
        size: Rows and columns of each image, at least 64.
        positive_fraction: Fraction of images with a pneumothorax in each split, 0 to 1.
        seed: Source of everything random, at least 0.
        workers: Number of processes.

    Raises:
        UserError: When ``root`` exists.
    """
    if root.exists():
        raise UserError(f"{root} exists", "a new directory", "remove it or name another")
    plans = [
        plan
        for split, count in enumerate((images, test_images))
        for plan in _plan(seed, split, count, size, positive_fraction)
    ]
    assert len({plan.path for plan in plans}) == len(plans)
    with publish_directory(root) as directory:
        tree = SyntheticTree(directory)
        tree.test_dicom.mkdir()
        tree.dicom.mkdir()
        written: dict[int, list[str]] = {}
        with Progress("synthesize", len(plans), unit="images") as progress:
            for position, parts in _write_all(directory, plans, workers):
                written[position] = parts
                progress.step()
        masks = [(plan.image_id, mask) for position, plan in enumerate(plans) for mask in written[position]]
        train = {plan.image_id: plan.patient_id for plan in plans if not plan.split}
        publish_csv(tree.masks, ("ImageId", "EncodedPixels"), [row for row in masks if row[0] in train])
        publish_csv(tree.test_masks, ("ImageId", "EncodedPixels"), [row for row in masks if row[0] not in train])
        publish_csv(tree.patients, ("ImageId", "PatientId"), train.items())
    return SyntheticTree(root)


def _plan(seed: int, split: int, count: int, size: int, positive_fraction: float) -> Iterator[_ImagePlan]:
    """Assign ``count`` images to patients, most of whom have one, and choose which are positive."""
    rng = np.random.default_rng([seed, split])
    visits = rng.choice([1, 2, 3], size=count, p=[0.7, 0.2, 0.1])
    patients = np.repeat(np.arange(count), visits)[:count]
    positive = rng.permutation(count) < round(positive_fraction * count)
    for index in range(count):
        yield _ImagePlan(
            seed=seed,
            split=split,
            index=index,
            patient=int(patients[index]),
            size=size,
            positive=bool(positive[index]),
        )


def _write_image(root: Path, plan: _ImagePlan) -> list[str]:
    """Draw an image, write its file, and return the run lengths of its mask, one string for each row of the CSV."""
    person = np.random.default_rng([plan.seed, plan.split, plan.patient, 1])
    anatomy, sex, age = draw_anatomy(person), "MF"[person.integers(2)], int(person.integers(18, 90))
    phantom = draw(np.random.default_rng([plan.seed, plan.split, plan.index, 2]), plan.size, plan.positive, anatomy)
    pixels, syntax, photometric = _storage(phantom.image, plan.index)
    write_dicom(
        root / plan.path,
        pixels,
        image_id=plan.image_id,
        patient_id=plan.patient_id,
        view=phantom.view,
        sex=sex,
        age=age,
        spacing_mm=round(SPACING_MM * 1024 / plan.size, 6),
        syntax=syntax,
        photometric=photometric,
    )
    in_two = plan.split == 0 and plan.index % 4 == 0
    return [rle.encode(part) for part in (_halves(phantom.mask) if in_two else [phantom.mask])]


def _storage(
    image: npt.NDArray[np.uint8], index: int
) -> tuple[Pixels, Literal["jpeg", "explicit"], Literal["MONOCHROME1", "MONOCHROME2"]]:
    """Return an image's pixels at the bit depth to store, its transfer syntax and photometric interpretation."""
    turn, remainder = divmod(index, 5)
    if remainder != 4:
        return image, "jpeg", "MONOCHROME2"
    pixels = image.astype(np.uint16) * np.uint16(257) if turn % 2 else image
    return pixels, "explicit", "MONOCHROME1" if turn % 4 >= 2 else "MONOCHROME2"


def _halves(mask: npt.NDArray[np.uint8]) -> list[npt.NDArray[np.uint8]]:
    """Return an upper and a lower part of a mask that overlap, as two readers' annotations do; a small mask whole."""
    rows = np.flatnonzero(mask.any(axis=1))
    if len(rows) < 8:
        return [mask]
    middle = int(rows[len(rows) // 2])
    upper, lower = mask.copy(), mask.copy()
    upper[middle + 2 :] = 0
    lower[: middle - 2] = 0
    return [upper, lower]


def _write_all(directory: Path, plans: Sequence[_ImagePlan], workers: int) -> Iterator[tuple[int, list[str]]]:
    """Write all images; yield the position of each and the run lengths of its mask, as they are done."""
    work = partial(_write_image, directory)
    if workers == 1:
        yield from enumerate(map(work, plans))
        return
    with Pool(workers, LARGEST_LIMITS) as pool:
        for position, written in pool.run(work, plans):
            if isinstance(written, WorkerDied):
                raise UserError(
                    f"a process that draws images died, exit code {written.exit_code}",
                    f"memory for {workers} of them",
                    "try again with fewer processes, or smaller images",
                )
            yield position, written


def _number(seed: int, index: int) -> int:
    """Return a large pseudo-random number."""
    return int(np.random.SeedSequence([seed, index]).generate_state(1, np.uint64)[0])
