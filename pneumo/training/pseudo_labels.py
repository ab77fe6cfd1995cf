"""Pseudo-labels of a fold: made once by the teacher's network of the same fold, kept in the fold's directory.

RUN/fold-K/pseudo-labels.parquet has the confident ones as run lengths, and names in its metadata what they were made
of: the fold, the teacher and the thresholds. A start that finds it reads it, and makes it otherwise; a fold that has
checkpoints goes on with the file that they were trained on, or not at all.
"""

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pneumo.dataset import unlabeled
from pneumo.dataset.shard_reader import ShardReader
from pneumo.dataset.table import Rows, SampleTable
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
from pneumo.runtime import parquet
from pneumo.runtime.console import Progress, log
from pneumo.runtime.errors import UserError, counted, list_some
from pneumo.runtime.files import publish
from pneumo.training.fold_data import FoldData
from pneumo.training.pseudo_label_config import PseudoLabelConfig
from pneumo.training.run_directory import RunDirectory
from pneumo.training.stoppable import StoppableLoader
from pneumo.training.teacher import Teacher

FORMAT_VERSION = 1
MAX_IMAGES = 2_000_000
_REPAIR = "restore the file, or delete the fold's directory: the same command makes it again"


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
        directory, schema = self.run.fold(self.fold), self._schema()
        path = directory.pseudo_labels
        rows = unlabeled.usable(self.reader.table, self.fold)
        if not self.group.on_leader(lambda: directory.has_results or _has_schema(path, schema)):
            labels = self._make(rows)
            self.group.on_leader(lambda: _write(path, schema, self.reader.table, labels))
        found = self.group.on_leader(lambda: _read(path, schema, self.reader.table, rows))
        if self.group.is_leader:
            positive = sum(mask != rle.EMPTY for mask in found.values())
            log.info(
                "fold %d learns from %s: %d positive; of %d others the teacher is not sure, and %d are of the patients"
                " of fold %d, or copies",
                self.fold, counted(len(found), "pseudo-labeled image"), positive, len(rows) - len(found),
                len(self.reader.table.select("unlabeled")) - len(rows), self.fold,
            )  # fmt: skip
        return found

    def _schema(self) -> pa.Schema:
        made_of = {
            "pneumo.format_version": str(FORMAT_VERSION),
            "pneumo.fold": str(self.fold),
            "pneumo.teacher": self.teacher.sha256,
            "pneumo.thresholds": json.dumps(_thresholds(self.run.recipe.pseudo_labels), sort_keys=True),
        }
        return pa.schema([("image_id", pa.string()), ("mask", pa.string())], metadata=made_of)

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


def _thresholds(config: PseudoLabelConfig) -> dict[str, float]:
    return {name: value for name, value in asdict(config).items() if name != "share"}


def _has_schema(path: Path, schema: pa.Schema) -> bool:
    """Return whether a file is there that was made of the same; another one is replaced before training begins."""
    try:
        return path.is_file() and pq.read_schema(path).equals(schema, check_metadata=True)
    except (OSError, pa.ArrowException):
        return False


def _write(path: Path, schema: pa.Schema, table: SampleTable, labels: Mapping[int, str]) -> None:
    rows = sorted(labels)
    columns = {"image_id": [str(table.image_id[row]) for row in rows], "mask": [labels[row] for row in rows]}
    path.parent.mkdir(parents=True, exist_ok=True)
    with publish(path) as file:
        pq.write_table(pa.table(columns, schema=schema), file, compression="zstd")


def _read(path: Path, schema: pa.Schema, table: SampleTable, rows: Rows) -> dict[int, str]:
    """Read the labels of a fold.

    Args:
        path: The file.
        schema: With what it has to be made of.
        table: The dataset's table.
        rows: The unlabeled rows that the fold may use.

    Raises:
        UserError: When it is missing, damaged, made of something else, or has an image that the fold must not use.
    """
    expected = "the pseudo-labels that this fold began with"
    read = parquet.read_table(path, schema, max_rows=MAX_IMAGES, expected=expected, action=_REPAIR)
    row_of = {str(table.image_id[row]): row for row in rows.tolist()}
    found = dict(zip(read["image_id"].to_pylist(), read["mask"].to_pylist(), strict=True))
    if leaked := sorted(found.keys() - row_of.keys()):
        raise UserError(
            f"{path} has images that this fold must not learn from: {list_some(leaked)}",
            "unlabeled images, none of them a copy or of a patient whom the fold validates on",
            _REPAIR,
        )
    labels = {row_of[image_id]: mask for image_id, mask in found.items()}
    try:
        for row, mask in labels.items():
            rle.parse(mask, math.prod(table.shape(row)))
    except rle.RleError as error:
        raise UserError(f"{path}: the mask of {table.image_id[row]} has {error}", expected, _REPAIR) from None
    return dict(sorted(labels.items()))
