"""job/explore.py from its flags to its page."""

import re
import shutil
from pathlib import Path

import pytest
from command_driver import call

from pneumo.dataset import paths
from pneumo.dataset.build import build
from pneumo.dataset.options import BuildInputs, BuildOptions
from pneumo.dataset.table import SampleTable
from pneumo.synthetic.tree import SyntheticTree


def explore(dataset: Path, out: Path, *words: object) -> tuple[object, str, str]:
    return call("explore", ["--dataset", str(dataset), "--out", str(out), "--workers", "2", *map(str, words)])


def test_a_dataset_becomes_one_page_that_replaces_an_earlier_one(dataset: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "explore.html"
    code, printed, _ = explore(dataset, out, "--pictures", 3)
    assert code in (0, None)
    assert re.fullmatch(rf"{out}: 38 images, [0-9.]+ [kM]B; open it in a browser\n", printed)
    first = out.read_text()
    assert "32 labeled chest X-rays, 16 with a pneumothorax, and 6 test images" in first
    assert first.count("<img ") >= 8
    assert explore(dataset, out, "--pictures", 0)[0] in (0, None)
    assert len(out.read_text()) < len(first)
    assert [path.name for path in out.parent.iterdir()] == ["explore.html"]


def test_nothing_else_is_replaced_and_nothing_written_into_the_dataset(dataset: Path, tmp_path: Path) -> None:
    notes = tmp_path / "notes.html"
    notes.write_text("<html>mine</html>")
    for out, message in (
        (notes, "--out would replace .*notes.html, which is no earlier result of this command"),
        (dataset / "explore.html", "--out would write .*explore.html in .*, which --dataset reads"),
        (paths.samples(dataset), "--out would write .*samples.parquet"),
        (tmp_path, "is a directory; expected the name of a file to write"),
    ):
        code, printed, errors = explore(dataset, out)
        assert (code, printed) == (2, "")
        assert re.search(f"ERROR .*{message}", errors), errors
    assert notes.read_text() == "<html>mine</html>"
    assert not (dataset / "explore.html").exists()


def test_a_damaged_sample_is_counted_and_the_page_is_written(dataset: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(dataset, tmp_path / "dataset"))
    table = SampleTable.read(copy)
    shard = paths.shards(copy) / str(table.shard[2])
    content = bytearray(shard.read_bytes())
    content[int(table.offset[2]) + 20] ^= 255
    shard.write_bytes(content)
    code, _, errors = explore(copy, tmp_path / "explore.html")
    assert code in (0, None)
    assert f"WARNING Damaged samples: 1 ({table.image_id[2]})" in errors
    assert str(table.image_id[2]) in (tmp_path / "explore.html").read_text()


@pytest.mark.parametrize("kind", ["without labels", "without test images"])
def test_a_dataset_of_one_split_has_a_page(synthetic: SyntheticTree, tmp_path: Path, kind: str) -> None:
    inputs = (
        BuildInputs(dicom=synthetic.test_dicom)
        if kind == "without labels"
        else BuildInputs(dicom=synthetic.dicom, masks=synthetic.masks)
    )
    build(inputs, tmp_path / "dataset", BuildOptions(num_folds=2, workers=1))
    code, _, errors = explore(tmp_path / "dataset", tmp_path / "explore.html", "--pictures", 2)
    assert code in (0, None), errors
    assert ("No image has a label." in errors) == (kind == "without labels")


def test_the_page_has_the_unlabeled_images(synthetic: SyntheticTree, tmp_path: Path) -> None:
    lines = synthetic.masks.read_text().splitlines()
    (tmp_path / "masks.csv").write_text("\n".join(lines[:-3]) + "\n")
    inputs = BuildInputs(dicom=synthetic.dicom, masks=tmp_path / "masks.csv", keep_unlabeled=True)
    manifest = build(inputs, tmp_path / "dataset", BuildOptions(num_folds=2, workers=1))
    assert manifest is not None
    assert manifest.unlabeled_samples
    code, _, errors = explore(tmp_path / "dataset", tmp_path / "explore.html", "--pictures", 2)
    assert code in (0, None), errors
    assert "unlabeled images, for training alone" in (tmp_path / "explore.html").read_text()


def test_what_is_no_dataset_is_refused(tmp_path: Path) -> None:
    code, printed, errors = explore(tmp_path, tmp_path.parent / "explore.html")
    assert (code, printed) == (2, "")
    assert "no dataset.json" in errors
