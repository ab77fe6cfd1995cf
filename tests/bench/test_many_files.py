"""Files under ids of their own, of which a build makes as many samples, each with its frame and its mask."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from pneumo.bench.many_files import multiply
from pneumo.dataset.build import build
from pneumo.dataset.options import BuildInputs, BuildOptions
from pneumo.dataset.table import SampleTable
from pneumo.runtime.errors import UserError
from pneumo.synthetic.tree import SyntheticTree


def test_each_file_becomes_a_sample_of_its_own(synthetic: SyntheticTree, tmp_path: Path) -> None:
    once = build_table(BuildInputs(dicom=synthetic.dicom, masks=synthetic.masks), tmp_path / "once")
    images = len(once)
    inputs = multiply(BuildInputs(dicom=synthetic.dicom, masks=synthetic.masks), tmp_path / "many", 2 * images + 1)
    table = build_table(inputs, tmp_path / "out")
    assert len(table) == len(np.unique(table.image_id)) == 2 * images + 1
    # The same frames and masks, two or three times each.
    for name in ("sha256", "rle_sha256"):
        found, times = np.unique(getattr(table, name), return_counts=True)
        assert set(found) == set(getattr(once, name))
        assert times.min() >= 2
    assert not any("not valid" in note for note in table.render_notes)


def build_table(inputs: BuildInputs, out: Path) -> SampleTable:
    assert build(inputs, out, BuildOptions(num_folds=2, workers=1)) is not None
    return SampleTable.read(out)


def test_files_without_a_mask_and_those_that_are_no_images_are_left_out(
    synthetic: SyntheticTree, tmp_path: Path
) -> None:
    dicom = shutil.copytree(synthetic.dicom, tmp_path / "dicom")
    (dicom / "README.txt").write_text("no image")
    header, *rows = synthetic.masks.read_text().splitlines()
    left_out = rows[0].split(",")[0]
    (tmp_path / "masks.csv").write_text("\n".join([header, *(row for row in rows if not row.startswith(left_out))]))
    inputs = multiply(BuildInputs(dicom=dicom, masks=tmp_path / "masks.csv"), tmp_path / "many", 12)
    assert len(build_table(inputs, tmp_path / "out")) == 12
    with pytest.raises(UserError, match="has no DICOM image of"):
        (tmp_path / "none.csv").write_text(f"{header}\n1.2.3,-1\n")
        multiply(BuildInputs(dicom=dicom, masks=tmp_path / "none.csv"), tmp_path / "none", 12)


def test_more_files_than_there_are_numbers_are_a_mistake(synthetic: SyntheticTree, tmp_path: Path) -> None:
    with pytest.raises(AssertionError):
        multiply(BuildInputs(dicom=synthetic.dicom, masks=synthetic.masks), tmp_path, 1_000_000)
