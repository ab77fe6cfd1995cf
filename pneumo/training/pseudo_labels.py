"""Pseudo-labels of a fold: made once by the teacher's network of the same fold, kept in the fold's directory.

A start that finds the file of them reads it, and makes it otherwise; a fold that has checkpoints goes on with the file
that they were trained on, or not at all.
"""

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace

import numpy as np

from pneumo.dataset import unlabeled
from pneumo.dataset.shard_reader import ShardReader
from pneumo.dataset.table import Rows
from pneumo.distributed import heartbeat
from pneumo.distributed.collectives import Group
from pneumo.distributed.device_memory import release_memory
from pneumo.distributed.world import World
from pneumo.inference.build import build
from pneumo.inference.decision_rule import DecisionRule
from pneumo.inference.encoding import EncodedMask, encode_batches
from pneumo.inference.histograms import BINS
from pneumo.inference.prediction import PredictedBatch, count_pixels, predict, split_batches
from pneumo.masks import rle
from pneumo.runtime.console import Progress, log
from pneumo.runtime.errors import counted
from pneumo.training.fold_data import FoldData
from pneumo.training.pseudo_label_config import PseudoLabelConfig
from pneumo.training.pseudo_label_file import PseudoLabelFile
from pneumo.training.run_directory import RunDirectory
from pneumo.training.stoppable import StoppableLoader
from pneumo.training.teacher import Teacher


class PseudoLabeledReader(ShardReader):
    """A reader in which unlabeled images have masks.

    Args:
        reader: Reads the dataset.
        labels: Run lengths by row.
    """

    def __init__(self, reader: ShardReader, labels: Mapping[int, str]) -> None:
        positive = reader.table.positive.copy()
        positive[[row for row, mask in labels.items() if mask != rle.EMPTY]] = True
        super().__init__(reader.dataset, replace(reader.table, positive=positive))
        self._labels = labels

    def rle(self, row: int) -> str:
        """Return a row's mask, as ``ShardReader.rle``."""
        return self._labels[row] if row in self._labels else super().rle(row)


def with_labels(data: FoldData, labels: Mapping[int, str]) -> FoldData:
    """Return a fold's samples with the pseudo-labeled ones to train on.

    Args:
        data: The fold's samples.
        labels: Run lengths by row of the table.
    """
    rows = np.array(sorted(labels), np.int64)
    return replace(data, reader=PseudoLabeledReader(data.reader, labels), pseudo_rows=rows)


@dataclass(frozen=True, kw_only=True)
class Labeler:
    """Labels the unlabeled images for one fold.

    ``stop_if_asked`` raises when a rank of the group was asked to stop; it is collective, called before each batch.
    """

    run: RunDirectory
    fold: int
    teacher: Teacher
    reader: ShardReader
    """Of the run's images."""
    world: World
    group: Group
    workers: int
    """Threads of the loader."""
    stop_if_asked: Callable[[], None]

    def labels(self) -> dict[int, str]:
        """Return the run lengths of the confident labels by row of the table. Collective over the group.

        Raises:
            UserError: When the fold's file cannot be read, is one of other labels, or is missing beside checkpoints.
        """
        directory = self.run.fold(self.fold)
        file = PseudoLabelFile(directory.pseudo_labels, self._made_of())
        rows = unlabeled.usable(self.reader.table, self.fold)
        if not self.group.on_leader(lambda: directory.has_results or file.is_there()):
            labels = self._make(rows)
            self.group.on_leader(lambda: file.write(self.reader.table, labels))
        found = self.group.on_leader(lambda: file.read(self.reader.table, rows))
        if self.group.is_leader:
            positive = sum(mask != rle.EMPTY for mask in found.values())
            log.info(
                "fold %d learns from %s: %d positive; of %d others the teacher is not sure, and %d are of the patients"
                " of fold %d, or copies",
                self.fold, counted(len(found), "pseudo-labeled image"), positive, len(rows) - len(found),
                len(self.reader.table.select("unlabeled")) - len(rows), self.fold,
            )  # fmt: skip
        return found

    def _made_of(self) -> dict[str, str]:
        thresholds = {k: v for k, v in asdict(self.run.recipe.pseudo_labels).items() if k != "share"}
        return {
            "pneumo.fold": str(self.fold),
            "pneumo.teacher": self.teacher.sha256,
            "pneumo.thresholds": json.dumps(thresholds, sort_keys=True),
        }

    def _make(self, rows: Rows) -> dict[int, str]:
        """Predict the images; return the labels on the leader. Collective."""
        config = self.run.recipe.pseudo_labels
        loader, predictor = build(
            self.teacher.run.recipe.inference, self.reader, self.world.device, workers=self.workers
        )
        weights = self.teacher.weights[self.fold]
        weights.load(predictor.network, weights.read())
        heartbeat.touch(f"fold {self.fold}: labeling images")
        batches = split_batches(rows)
        mine = batches[self.group.rank :: self.group.size]
        stoppable = StoppableLoader(loader, -(-len(batches) // self.group.size), self.stop_if_asked)
        bottom = round(config.threshold * BINS)
        rule = DecisionRule(bottom, config.min_area, bottom, config.positive)
        what, total = f"fold {self.fold} pseudo-labels", sum(map(len, mine))
        with Progress(what, total, unit="images", enabled=self.world.is_leader) as progress:
            predicted = _counting(predict(predictor, stoppable, self.reader, mine), progress)
            encoded = encode_batches(count_pixels(predicted, self.world.device), lambda _: rule, self.world.device)
            found = {mask.row: label for mask in encoded if (label := confident_label(mask, config))}
        labels = {row: label for part in self.group.gather(found) for row, label in part.items()}
        del loader, predictor, stoppable, predicted, encoded
        release_memory()
        return labels


def confident_label(mask: EncodedMask, config: PseudoLabelConfig) -> str:
    """Return the run lengths that a prediction is taken for, or an empty string when it is not sure enough.

    Args:
        mask: The mask under the rule of ``positive``, ``threshold`` and ``min_area``.
        config: The thresholds.
    """
    highest = int(np.flatnonzero(mask.counted.counts[mask.position].sum(axis=0))[-1]) / BINS
    presence = mask.counted.presence[mask.position]
    probability = highest if math.isnan(presence) else presence
    if mask.rle != rle.EMPTY:
        return mask.rle if probability >= config.positive else ""
    return rle.EMPTY if probability <= config.negative and highest < config.threshold else ""


def _counting(batches: Iterable[PredictedBatch], progress: Progress) -> Iterator[PredictedBatch]:
    for batch in batches:
        yield batch
        progress.step(len(batch.rows))
