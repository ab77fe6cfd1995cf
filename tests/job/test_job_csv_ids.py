"""job/shard.py with masks CSVs that name the images as files: with endings, with directories."""

from pathlib import Path

import numpy as np
import pytest
from command_driver import call

from pneumo.dataset.table import SampleTable
from pneumo.synthetic.dicom_writer import write_dicom


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """Four DICOMs, im0.IMA with the UID 1.2.30 and so on."""
    for number in range(4):
        pixels = np.random.default_rng(number).integers(0, 256, (32, 40), np.uint8)
        path = tmp_path / "scans" / f"im{number}.{('IMA', 'ima', 'dic', 'DIC')[number]}"
        path.parent.mkdir(exist_ok=True)
        write_dicom(
            path, pixels, image_id=f"1.2.3{number}", patient_id=f"p{number}", view="PA", sex="F", age=50,
            spacing_mm=0.2, syntax="explicit", photometric="MONOCHROME2",
        )  # fmt: skip
    return path.parent


def shard(scans: Path, ids: list[str], *words: str) -> tuple[object, str, str]:
    masks = scans.parent / "masks.csv"
    masks.write_text("ImageId,EncodedPixels\n" + "".join(f"{image_id},{n} 9\n" for n, image_id in enumerate(ids)))
    return call("shard", ["--dicom", str(scans), "--masks", str(masks), "--out", str(masks.with_name("out")), *words])


def test_masks_of_files_with_the_endings_of_vendors_are_found(scans: Path) -> None:
    ids = ["im0.IMA", "im1.ima", "im2.dic", "im3.DIC"]
    code, _, errors = shard(scans, ids, "--num-folds", "2")
    assert code == 2, errors
    assert errors.rstrip().endswith("give --id file-name")
    code, _, errors = shard(scans, ids, "--num-folds", "2", "--id", "file-name")
    assert code == 0, errors
    assert sorted(SampleTable.read(scans.parent / "out").image_id) == ["im0", "im1", "im2", "im3"]


@pytest.mark.parametrize("separator", ["/", "\\"])
def test_directories_in_the_ids_are_said(scans: Path, separator: str) -> None:
    ids = [f"train{separator}1.2.3{number}.dcm" for number in range(4)]
    code, _, errors = shard(scans, ids)
    assert code == 2, errors
    assert f"that begin with a directory, and would have a file without it: 4 (train{separator}1.2.30, " in errors
    assert errors.splitlines()[-1].endswith("remove the directories from the column ImageId")
    code, _, errors = shard(scans, [*ids[:2], "1.2.32", "1.2.33"], "--num-folds", "2")
    assert code == 0, errors
    assert "WARNING ids of the masks CSV that begin with a directory, and would have a file without it: 2 (" in errors
