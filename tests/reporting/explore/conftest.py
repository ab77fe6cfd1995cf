"""The analysis of the shared synthetic dataset."""

from pathlib import Path

import pytest

from pneumo.dataset.shard_reader import ShardReader
from pneumo.dataset.table import SampleTable
from pneumo.reporting.explore.analysis import Analysis, analyze


@pytest.fixture(scope="session")
def explored(dataset: Path) -> tuple[Analysis, ShardReader]:
    reader = ShardReader(dataset, SampleTable.read(dataset))
    return analyze(reader, workers=2), reader
