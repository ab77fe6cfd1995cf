"""What the report of a run is made of. Nothing in it needs a lock, and what is not there yet is None or empty."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from pneumo.dataset.shard_reader import ShardReader
from pneumo.inference.histograms import PredictionHistograms
from pneumo.inference.metrics import Metrics
from pneumo.inference.nested import NestedEstimate

UNFINISHED = "unfinished"

History = Sequence[Mapping[str, Any]]
"""One entry for each epoch, as in fold.json."""


@dataclass(frozen=True, kw_only=True)
class FoldProgress:
    """How far a fold is."""

    fold: int
    state: Literal["finished", "in training", "not started"]
    history: History


@dataclass(frozen=True, eq=False, kw_only=True)
class Evidence:
    """Out-of-fold predictions of the finished folds, and what follows from them."""

    histograms: PredictionHistograms
    nested: NestedEstimate
    metrics: Metrics
    """Those of metrics.json once the run is finished."""
    masks: Mapping[str, str]
    """Run lengths of the predicted masks by image id; empty until the run is finished."""


@dataclass(frozen=True, eq=False, kw_only=True)
class RunFacts:
    """What is known of a run."""

    name: str
    recipe_name: str
    recipe: Sequence[str]
    """Sentences."""
    folds: Sequence[FoldProgress]
    metrics_sha256: str
    """Of metrics.json; ``UNFINISHED`` before it is written."""
    evidence: Evidence | None
    """None before a fold is finished."""
    reader: ShardReader | None
    """The dataset that the run was trained on; None when it was not given."""
    dataset_digest: str
    folds_digest: str
    patients: str
    """A sentence on how patients and folds go together."""
    excluded: Mapping[str, str]
    """Damaged training images that the run leaves out, and what was found."""
    trained_with: str
    """Version of pneumo that started the run."""
    written_with: Mapping[str, str]
    """Versions of the program and of its libraries, when the report was written."""
    date: str
    drains: Mapping[str, bool] = field(default_factory=dict)
    """Whether images show a chest drain, by id, as far as somebody has noted it."""

    @property
    def is_finished(self) -> bool:
        """Whether the metrics are those of all folds."""
        return self.metrics_sha256 != UNFINISHED
