"""The file of a fold's pseudo-labels by itself; test_pseudo_labels.py trains with it."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from unlabeled_data import build_dataset

from pneumo.dataset import unlabeled
from pneumo.dataset.table import Rows, SampleTable
from pneumo.runtime.errors import UserError
from pneumo.training.pseudo_label_file import PseudoLabelFile

MADE_OF = {"teacher": "a" * 64}


@pytest.fixture(scope="module")
def table(synthetic, tmp_path_factory: pytest.TempPathFactory) -> SampleTable:
    return SampleTable.read(build_dataset(synthetic, tmp_path_factory.mktemp("dataset")))


@pytest.fixture(scope="module")
def rows(table: SampleTable) -> Rows:
    found = unlabeled.usable(table, 0)
    assert len(found) > 2
    return found


def test_labels_are_read_as_they_were_written(table: SampleTable, rows: Rows, tmp_path: Path) -> None:
    file = PseudoLabelFile(tmp_path / "fold-0" / "labels.parquet", MADE_OF)
    assert not file.is_there()
    labels = {int(rows[2]): "5 10", int(rows[0]): "-1"}
    file.write(table, labels)
    assert file.is_there()
    assert list(file.read(table, rows).items()) == sorted(labels.items())
    # By another reader of the format.
    read = pq.read_table(tmp_path / "fold-0" / "labels.parquet").to_pydict()
    assert read == {"image_id": [table.image_id[rows[0]], table.image_id[rows[2]]], "mask": ["-1", "5 10"]}


def test_labels_of_something_else_are_not_there(table: SampleTable, rows: Rows, tmp_path: Path) -> None:
    path = tmp_path / "labels.parquet"
    PseudoLabelFile(path, MADE_OF).write(table, {int(rows[0]): "-1"})
    other = PseudoLabelFile(path, {"teacher": "b" * 64})
    assert not other.is_there()
    with pytest.raises(UserError, match="expected the pseudo-labels that this fold began with"):
        other.read(table, rows)


def test_a_damaged_file_is_not_there_and_not_read(table: SampleTable, rows: Rows, tmp_path: Path) -> None:
    path = tmp_path / "labels.parquet"
    path.write_bytes(b"PAR1 cut off")
    file = PseudoLabelFile(path, MADE_OF)
    assert not file.is_there()
    with pytest.raises(UserError, match="delete the fold's directory"):
        file.read(table, rows)


def test_an_image_that_the_fold_must_not_use_is_refused(table: SampleTable, rows: Rows, tmp_path: Path) -> None:
    file = PseudoLabelFile(tmp_path / "labels.parquet", MADE_OF)
    validation = int(table.select("train", {0})[0])
    file.write(table, {validation: "-1", int(rows[0]): "-1"})
    with pytest.raises(UserError, match=f"must not learn from: 1 .{table.image_id[validation]}"):
        file.read(table, rows)


@pytest.mark.parametrize("mask", ["5 0", "99999999 1", "5", "five 5"])
def test_a_mask_that_does_not_fit_its_image_is_refused(
    table: SampleTable, rows: Rows, tmp_path: Path, mask: str
) -> None:
    file = PseudoLabelFile(tmp_path / "labels.parquet", MADE_OF)
    file.write(table, {int(rows[1]): mask})
    with pytest.raises(UserError, match=f"the mask of {table.image_id[rows[1]]} has"):
        file.read(table, rows)
