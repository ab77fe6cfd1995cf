"""An exported model on disk: the networks of a finished run with all that is needed to use them elsewhere.

    MODEL/
        model.json             recipe, dataset, versions; the size and the SHA-256 of every other file
        model_card.md          what it is for, what it was trained on, how good it is (``reporting.model_card``)
        thresholds.json        the decision rule
        metrics.json           out-of-fold metrics
        fold-0.safetensors     the weights of each fold
        model.onnx             the mean of the networks for other programs (``inference.onnx_export``); may be missing
        model.onnx.data        its weights, where they are too large for one file

Nothing in it is about a single image: no ids, no predictions, no names of files or directories. The same run gives the
same bytes. It is read and never written again; nothing in it is code, and ``load`` compares each file with its
SHA-256.
"""

import json
from collections.abc import Collection
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PureWindowsPath
from typing import Annotated

from annotated_types import Interval

from pneumo.modeling.trained_weights import TrainedWeights
from pneumo.runtime import config, documents
from pneumo.runtime.config import config_dataclass
from pneumo.runtime.errors import UserError, list_some
from pneumo.runtime.files import sha256
from pneumo.training.recipe import Recipe
from pneumo.training.recipe_json import add_newer_entries
from pneumo.training.run_directory import EXPORTED_FILE, DatasetIdentity, complete_identity

FORMAT_VERSION = 1
CARD, RULE, METRICS, ONNX, ONNX_DATA = (
    "model_card.md",
    "thresholds.json",
    "metrics.json",
    "model.onnx",
    "model.onnx.data",
)
RESTORE = "copy the whole directory again, or export the run again with job/export.py"
ENCODER_WEIGHTS = ("none", "imagenet", "packaged")
"""What a recipe names that is no path."""


def weights_file(fold: int) -> str:
    """Return the name of the file of a fold's weights."""
    return f"fold-{fold}.safetensors"


@config_dataclass
class _Content:
    """A file that model.json lists."""

    bytes: Annotated[int, Interval(ge=0, le=1 << 48)]
    sha256: str


@config_dataclass
class _Record:
    """The content of model.json."""

    trained_with: str
    """Version of pneumo that started the run."""
    exported_with: str
    """Version of pneumo that exported it."""
    recipe: Recipe
    """The run's; of a file of encoder weights the name alone."""
    dataset: DatasetIdentity
    """The run's, without its excluded images, whose number metrics.json has."""
    encoder_sha256: str
    """Digest of the encoder's first weights; empty when they were random."""
    files: dict[str, _Content]


@dataclass(frozen=True, kw_only=True)
class ExportedModel:
    """An exported model on disk, whose files are what model.json says."""

    path: Path
    recipe: Recipe
    dataset: DatasetIdentity
    weights: tuple[TrainedWeights, ...]
    """Of each fold."""

    @property
    def thresholds(self) -> Path:
        """The decision rule."""
        return self.path / RULE

    @property
    def metrics(self) -> Path:
        """Out-of-fold metrics."""
        return self.path / METRICS


def without_paths(recipe: Recipe) -> Recipe:
    """Return a recipe whose encoder weights, when they are a file, are named without its directory."""
    weights = recipe.model.encoder_weights
    # Of Windows, for its separators: it knows both kinds.
    name = weights if weights in ENCODER_WEIGHTS else PureWindowsPath(weights).name
    return replace(recipe, model=replace(recipe.model, encoder_weights=name))


def write_record(
    directory: Path,
    *,
    recipe: Recipe,
    dataset: DatasetIdentity,
    encoder_sha256: str,
    trained_with: str,
    exported_with: str,
) -> None:
    """Write model.json for the files that are in a directory.

    Args:
        directory: Not published yet.
        recipe: As ``without_paths`` returned it.
        dataset: The run's.
        encoder_sha256: Digest of the encoder's first weights.
        trained_with: Version of pneumo that started the run.
        exported_with: Version of pneumo that exports it.
    """
    files = {
        file.name: _Content(bytes=file.stat().st_size, sha256=sha256(file)) for file in sorted(directory.iterdir())
    }
    record = _Record(
        trained_with=trained_with,
        exported_with=exported_with,
        recipe=recipe,
        dataset=replace(dataset, excluded={}, excluded_unlabeled={}),
        encoder_sha256=encoder_sha256,
        files=files,
    )
    content = {"format_version": FORMAT_VERSION, **asdict(record)}
    (directory / EXPORTED_FILE).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def load(path: Path) -> ExportedModel:
    """Load an exported model, and compare every file with its size and SHA-256.

    Raises:
        UserError: When it is no exported model, is of another format version, or a file is missing or another one.
    """
    content = documents.read_versioned(
        path / EXPORTED_FILE,
        FORMAT_VERSION,
        expected="the model.json that job/export.py wrote",
        repair=RESTORE,
        other_version="use the version of pneumo that wrote it, or export the run again",
    )
    content |= {"recipe": add_newer_entries(content.get("recipe"))}
    complete_identity(content.get("dataset"))
    record = config.from_json(_Record, content, str(path / EXPORTED_FILE))
    if without_paths(record.recipe) != record.recipe:
        raise _wrong(path / EXPORTED_FILE, "names a directory of encoder weights")
    names = [weights_file(fold) for fold in range(record.dataset.num_folds)]
    _check_names(path, record.files.keys(), {CARD, RULE, METRICS, *names})
    for name, listed in record.files.items():
        _check_file(path / name, listed)
    weights = tuple(TrainedWeights(path / name, record.files[name].sha256, RESTORE) for name in names)
    return ExportedModel(path=path, recipe=record.recipe, dataset=record.dataset, weights=weights)


def _check_names(path: Path, listed: Collection[str], required: set[str]) -> None:
    """Refuse a list without a file that is needed, or with another name, which might lead out of the directory."""
    if missing := sorted(required - set(listed)):
        raise _wrong(path / EXPORTED_FILE, f"lists no {list_some(missing)}")
    if unknown := sorted(set(listed) - required - {ONNX, ONNX_DATA}):
        raise _wrong(path / EXPORTED_FILE, f"lists unknown files: {list_some(unknown)}")


def _check_file(path: Path, listed: _Content) -> None:
    try:
        if not path.is_file():
            raise _wrong(path, "is no regular file" if path.exists() else "is missing")
        size = path.stat().st_size
        if size != listed.bytes:
            raise _wrong(path, f"has {size} bytes, not {listed.bytes}")
        if sha256(path) != listed.sha256:
            raise _wrong(path, "has another SHA-256")
    except OSError as error:
        raise _wrong(path, f"cannot be read ({error.strerror})") from error


def _wrong(path: Path, found: str) -> UserError:
    return UserError(f"{path} {found}", f"the files of an exported model as {EXPORTED_FILE} lists them", RESTORE)
