"""Files under ids of their own, of which a build makes as many samples, each with its frame and its mask."""

from pathlib import Path

import numpy as np
import pytest

from pneumo.bench.many_files import multiply
from pneumo.dataset.build import build
from pneumo.dataset.options import BuildInputs, BuildOptions
from pneumo.dataset.table import SampleTable
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


def test_more_files_than_there_are_numbers_are_a_mistake(synthetic: SyntheticTree, tmp_path: Path) -> None:
    with pytest.raises(AssertionError):
        multiply(BuildInputs(dicom=synthetic.dicom, masks=synthetic.masks), tmp_path, 1_000_000)
