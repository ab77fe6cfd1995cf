"""All that is known of a dataset: its table, its lists, and one pass over its pixels."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from pneumo.dataset import oddities, paths, quarantine
from pneumo.dataset.manifest import Manifest
from pneumo.dataset.shard_reader import ShardReader
from pneumo.dataset.table import Rows, SampleTable
from pneumo.reporting.explore import duplicates, folds, patients, shortcuts
from pneumo.reporting.explore.duplicates import Duplicates
from pneumo.reporting.explore.folds import FoldSummary
from pneumo.reporting.explore.lesions import Lesions
from pneumo.reporting.explore.patients import Patients
from pneumo.reporting.explore.scan import ScannedImage, scan
from pneumo.reporting.explore.shortcuts import Grouping


@dataclass(frozen=True, eq=False, kw_only=True)
class Analysis:
    """What the page shows."""

    name: str
    """The dataset's directory, without the path to it."""
    manifest: Manifest
    table: SampleTable
    scanned: Sequence[ScannedImage]
    """In the order of the table."""
    duplicates: Duplicates
    patients: Patients
    groupings: Sequence[Grouping]
    folds: Sequence[FoldSummary]
    quarantined: Counter[str]
    """Files by reason."""
    left_out: Counter[str]
    """Images that are no frontal chest X-rays, and masks among the images, by reason."""
    oddities: Sequence[str]

    @cached_property
    def train(self) -> Rows:
        """Return the rows of the labeled images."""
        return self.table.select("train")

    @cached_property
    def measured(self) -> Rows:
        """Return the rows of the positive images whose masks could be read."""
        return np.array([row for row, one in enumerate(self.scanned) if one.lesions is not None], np.int64)

    @cached_property
    def lesions(self) -> list[Lesions]:
        """Return the lesions of ``measured``."""
        return [one.lesions for one in self.scanned if one.lesions is not None]

    @cached_property
    def damaged(self) -> Rows:
        """Return the rows of the images or masks that cannot be read."""
        return np.array([row for row, one in enumerate(self.scanned) if one.damage], np.int64)


def analyze(reader: ShardReader, workers: int) -> Analysis:
    """Read a dataset once, and return what is known of it.

    Args:
        reader: Reads the dataset.
        workers: Threads that decode images.

    Raises:
        UserError: When dataset.json cannot be read. Damaged samples are counted.
    """
    dataset, table = reader.dataset, reader.table
    scanned = scan(reader, workers)
    return Analysis(
        name=dataset.resolve().name,
        manifest=Manifest.read(dataset),
        table=table,
        scanned=scanned,
        duplicates=duplicates.find(table, [one.hash for one in scanned]),
        patients=patients.count(table),
        groupings=shortcuts.find(table),
        folds=folds.summarize(table),
        quarantined=quarantine.count_reasons(dataset),
        left_out=quarantine.count_reasons(dataset, paths.LEFT_OUT),
        oddities=oddities.describe(table),
    )
