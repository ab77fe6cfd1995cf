"""The results of a finished fold: its weights and its out-of-fold histograms, each with the SHA-256 in fold.json.

A file of another fold or another run has the same form, and a flipped bit in a file of weights is a valid number: only
the digest tells them from what training wrote.
"""

import json
from dataclasses import asdict

from torch import nn

from pneumo.inference.histograms import PredictionHistograms, concatenate
from pneumo.modeling import weight_files
from pneumo.modeling.trained_weights import TrainedWeights, how_to_restore, require_finite
from pneumo.runtime import config, documents
from pneumo.runtime.config import config_dataclass
from pneumo.runtime.errors import UserError, list_some
from pneumo.runtime.files import publish, publish_text, sha256
from pneumo.training.run_directory import FoldDirectory, RunDirectory

FORMAT_VERSION = 3
"""Of fold.json. Version 2 had no digests."""


@config_dataclass
class _Summary:
    """The content of fold.json."""

    weights_sha256: str
    """Of model.safetensors."""
    histograms_sha256: str
    """Of oof.parquet."""
    history: list[dict[str, int | float]]
    """One entry for each epoch, as in ``LoopState``."""


def publish_fold(
    directory: FoldDirectory, model: nn.Module, histograms: PredictionHistograms, history: list[dict[str, float]]
) -> None:
    """Write the files of a finished fold; last fold.json, which marks it as finished.

    Raises:
        UserError: When a weight is not finite, or the run is not at its path any more.
    """
    directory.require_run_directory()
    require_finite(model.state_dict(), directory.model)
    with publish(directory.model) as file:
        weight_files.write_safetensors(model.state_dict(), file.write)
    histograms.write(directory.histograms)
    summary = _Summary(
        weights_sha256=sha256(directory.model), histograms_sha256=sha256(directory.histograms), history=history
    )
    content = {"format_version": FORMAT_VERSION, **asdict(summary)}
    publish_text(directory.summary, json.dumps(content, indent=1) + "\n")


def trained_weights(run: RunDirectory) -> tuple[TrainedWeights, ...]:
    """Return the weights of each fold, to be read when they are needed.

    Raises:
        UserError: When a fold.json is missing, damaged or of another format version.
    """
    return tuple(trained_fold(run.fold(k)) for k in range(run.dataset.num_folds))


def trained_fold(directory: FoldDirectory) -> TrainedWeights:
    """Return the weights of a finished fold, to be read when they are needed.

    Raises:
        UserError: When fold.json is missing, damaged or of another format version.
    """
    return TrainedWeights(directory.model, _read_summary(directory).weights_sha256, how_to_restore(directory.model))


def read_history(directory: FoldDirectory) -> list[dict[str, int | float]]:
    """Return the history of a finished fold, one entry for each epoch.

    Raises:
        UserError: When fold.json is missing, damaged or of another format version.
    """
    return _read_summary(directory).history


def read_histograms(run: RunDirectory) -> PredictionHistograms:
    """Read the out-of-fold histograms of all folds, in the order of the folds.

    Raises:
        UserError: When a file is missing, damaged, or not the one that training wrote for its fold.
    """
    parts = [read_fold_histograms(run.fold(k), k) for k in range(run.dataset.num_folds)]
    seen: set[str] = set()
    for k, part in enumerate(parts):
        if twice := seen & set(part.image_id.tolist()):
            raise UserError(
                f"{run.fold(k).histograms} has images of another fold: {list_some(sorted(twice))}",
                "every image in one fold",
                "restore the files of the folds, or train them again",
            )
        seen |= set(part.image_id.tolist())
    return concatenate(parts)


def read_fold_histograms(directory: FoldDirectory, fold: int) -> PredictionHistograms:
    """Read the out-of-fold histograms of a finished fold.

    Raises:
        UserError: When a file is missing, damaged, or not the one that training wrote for its fold.
    """
    summary = _read_summary(directory)
    histograms = PredictionHistograms.read(directory.histograms)
    found = sorted(set(histograms.fold.tolist()))
    if found != [fold]:
        raise UserError(
            f"{directory.histograms} has predictions of fold {', '.join(map(str, found))}",
            f"those of fold {fold}",
            how_to_restore(directory.histograms),
        )
    if sha256(directory.histograms) != summary.histograms_sha256:
        raise UserError(
            f"{directory.histograms} is not the file that training wrote",
            f"the SHA-256 in {directory.summary}",
            how_to_restore(directory.histograms),
        )
    return histograms


def _read_summary(directory: FoldDirectory) -> _Summary:
    content = documents.read_versioned(
        directory.summary,
        FORMAT_VERSION,
        expected="the fold.json of a finished fold",
        repair="copy the whole directory of the fold from where it was trained, or train the fold again with the same"
        " job/train.py command",
        other_version="use the version of pneumo that wrote it, or train the run again",
    )
    return config.from_json(_Summary, content, str(directory.summary))
