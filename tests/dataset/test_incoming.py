"""The images of a prediction, and what is not among them."""

import shutil
from pathlib import Path

import pytest

from pneumo.dataset.incoming import LISTS, read_images
from pneumo.dataset.options import BuildInputs, BuildOptions
from pneumo.runtime.errors import UserError
from pneumo.synthetic.tree import SyntheticTree

OPTIONS = BuildOptions(workers=1, max_quarantined=100)


def test_each_image_is_known_with_its_file(synthetic: SyntheticTree, tmp_path: Path) -> None:
    incoming = shutil.copytree(synthetic.test_dicom, tmp_path / "in")
    (incoming / "page.dcm").write_text("<html>")
    images = read_images(BuildInputs(dicom=incoming), OPTIONS, tmp_path / "dataset", tmp_path / "out")
    assert images.problem is None
    assert images.manifest is not None
    assert (images.manifest.found, images.manifest.samples, images.manifest.quarantined) == (7, 6, 1)
    assert {name: path.stem for name, path in images.sources.items()} == {n: n for n in images.reader.table.image_id}
    assert list(images.lists) == list(LISTS)
    assert "page.dcm" in images.lists["quarantine.csv"]


def test_without_an_image_the_lists_say_why(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "page.dcm").write_text("<html>")
    images = read_images(BuildInputs(dicom=tmp_path / "in"), OPTIONS, tmp_path / "dataset", tmp_path / "out")
    assert len(images.reader.table) == 0
    assert images.manifest is None
    assert "page.dcm" in images.lists["quarantine.csv"]
    assert "no usable image in 1 file (1 unknown_format); expected X-ray images in --dicom; see" in str(images.problem)
    assert f"{tmp_path / 'out' / 'quarantine.csv'}" in str(images.problem)


def test_a_directory_that_is_missing_is_the_users_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file or directory"):
        read_images(BuildInputs(dicom=tmp_path / "none"), OPTIONS, tmp_path / "dataset", tmp_path / "out")
