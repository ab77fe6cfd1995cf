"""The samples that a fold is trained on, and those that score it."""

from dataclasses import dataclass, field
from typing import Self

import numpy as np

from pneumo.dataset import unlabeled
from pneumo.dataset.shard_reader import ShardReader
from pneumo.dataset.table import Rows
from pneumo.loading.cache_plan import CacheKeeper


@dataclass(frozen=True, kw_only=True)
class FoldData:
    """The samples of one fold."""

    reader: ShardReader
    train_rows: Rows
    """Rows of the sample table to train on."""
    validation_rows: Rows
    """Rows of the fold's own images."""
    pseudo_rows: Rows = field(default_factory=lambda: np.zeros(0, np.int64))
    """Rows of unlabeled images with a pseudo-label, see ``pseudo_labels``; most folds have none."""
    unlabeled_rows: Rows = field(default_factory=lambda: np.zeros(0, np.int64))
    """Rows of the unlabeled images that the fold may learn from, see ``dataset.unlabeled``; most datasets have none."""
    caches: CacheKeeper | None = None
    """Keeps the decoded images, also for the next fold; None decodes them in each epoch."""

    @classmethod
    def of(cls, reader: ShardReader, fold: int, num_folds: int, caches: CacheKeeper | None = None) -> Self:
        """Select the images of the other folds to train on, the fold's own for validation, and unlabeled ones."""
        others = set(range(num_folds)) - {fold}
        table = reader.table
        return cls(
            reader=reader,
            train_rows=table.select("train", others),
            validation_rows=table.select("train", {fold}),
            unlabeled_rows=unlabeled.usable(table, fold),
            caches=caches,
        )
