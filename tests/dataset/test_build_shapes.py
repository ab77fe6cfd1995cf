"""Images of every shape and encoding through a build, with masks in the image's own pixels."""

import csv
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread

from pneumo.dataset.build import build
from pneumo.dataset.options import BuildInputs, BuildOptions
from pneumo.dataset.shard_reader import ShardReader
from pneumo.dataset.table import SampleTable
from pneumo.dicom import image_codec
from pneumo.masks import rle
from pneumo.synthetic.dicom_writer import write_dicom

SHAPES = ((1, 1), (1, 7), (9, 1), (3, 2), (40, 67), (67, 40), (200, 33), (128, 128), (1500, 1100))
ENCODINGS = ("jpeg", "explicit", "MONOCHROME1")


def column_major(mask: np.ndarray) -> str:
    """Return Kaggle's run lengths: a gap since the last run's end, then a length, down the columns."""
    runs, end, at = [], 0, 0
    flat = mask.T.ravel()
    while at < len(flat):
        if flat[at]:
            begin = at
            while at < len(flat) and flat[at]:
                at += 1
            runs += [begin - end, at - begin]
            end = at
        at += 1
    return " ".join(map(str, runs)) or "-1"


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_images_and_masks_of_every_shape_come_back_as_they_were(tmp_path: Path, encoding: str) -> None:
    random = np.random.default_rng(5)
    expected: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    with (tmp_path / "masks.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["ImageId", "EncodedPixels"])
        for number, shape in enumerate(SHAPES):
            image_id = f"1.2.3.{number}"
            path = tmp_path / "dicom" / f"{image_id}.dcm"
            write_dicom(
                path,
                random.integers(0, 256, shape, dtype=np.uint8),
                image_id=image_id,
                patient_id=f"patient {number}",
                syntax="jpeg" if encoding == "jpeg" else "explicit",
                photometric="MONOCHROME1" if encoding == "MONOCHROME1" else "MONOCHROME2",
            )
            mask = random.random(shape) < 0.3
            mask[-1, -1] = True
            table.writerow([image_id, column_major(mask)])
            stored = dcmread(path).pixel_array
            expected[image_id] = (255 - stored if encoding == "MONOCHROME1" else stored, mask)
    out = tmp_path / "dataset"
    build(
        BuildInputs(dicom=tmp_path / "dicom", masks=tmp_path / "masks.csv"), out, BuildOptions(workers=1, num_folds=2)
    )
    samples = SampleTable.read(out)
    assert sorted(samples.image_id) == sorted(expected)
    shards = ShardReader(out, samples)
    for row, image_id in enumerate(samples.image_id):
        pixels, mask = expected[image_id]
        shown = image_codec.to_float(image_codec.decode(shards.image(row)))
        assert shown.shape == (samples.rows[row], samples.columns[row]) == pixels.shape
        assert np.abs(shown * 255 - pixels).max() <= (2 if encoding == "jpeg" else 0.01)
        assert np.array_equal(rle.decode(shards.rle(row), *pixels.shape), mask)
        assert samples.mask_area[row] == mask.sum()
