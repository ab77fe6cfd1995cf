"""The analysis of a dataset on disk: all parts from one reading."""

from pathlib import Path

from pneumo.dataset.manifest import Manifest
from pneumo.dataset.shard_reader import ShardReader
from pneumo.dataset.table import SampleTable
from pneumo.reporting.explore.analysis import analyze


def test_the_parts_belong_to_the_same_images(dataset: Path) -> None:
    table = SampleTable.read(dataset)
    found = analyze(ShardReader(dataset, table), workers=2)
    assert found.name == "dataset"
    assert found.manifest == Manifest.read(dataset)
    assert found.train.tolist() == table.select("train").tolist()
    assert found.measured.tolist() == [row for row, positive in enumerate(table.positive) if positive]
    assert len(found.lesions) == len(found.measured) == found.manifest.positive
    assert len(found.damaged) == 0
    assert len(found.patients.images) == len(set(table.patient[table.patient >= 0].tolist()))
    assert [fold.rate.images for fold in found.folds] == [int((table.fold == fold).sum()) for fold in (0, 1)]
