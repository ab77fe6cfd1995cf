"""Recipes as JSON values: writing them, reading those of older versions, and listing the differences of two."""

import dataclasses
import json
import shlex
from collections.abc import Iterator
from typing import Any

from pneumo.modeling.losses.registry import TERMS
from pneumo.runtime.config import flag
from pneumo.training.consistency_config import ConsistencyConfig
from pneumo.training.pseudo_label_config import PseudoLabelConfig
from pneumo.training.recipe import Recipe


def to_json(recipe: Recipe) -> dict[str, Any]:
    """Return the recipe as JSON values: nested objects, tuples as lists."""
    return json.loads(json.dumps(dataclasses.asdict(recipe)))  # type: ignore[no-any-return]


NEWER_FIELDS: dict[str, Any] = {
    "min_component": 0.0,
    "swa_epochs": 0,
    "loss.bce_border": 0,
    "loss.dice_over": "image",
    "model.decoder_channels": [256, 128, 64, 32, 16],
    "model.presence_input": "encoder",
    "best_checkpoints": 1,
    "crop_size": [],
    "freeze_encoder_norm": False,
    "schedule": ["cosine"],
    "cosine_epochs": 0,
    "plateau": {"factor": 0.1, "patience": 2, "threshold": 1e-7, "min_learning_rate": 1e-7},
    "pseudo_labels": dataclasses.asdict(PseudoLabelConfig()),
    "consistency": dataclasses.asdict(ConsistencyConfig()),
}
"""Fields that are newer than the format, with what runs from before them did."""


def add_newer_entries(values: Any) -> Any:
    """Return a recipe's JSON values with what is newer than it, as it was before.

    Runs are resumed and used by versions of pneumo that have more loss terms, augmentations and fields than the one
    that started them. So an entry of these two tables that is off by default (a term of weight 0 with its options, an
    augmentation of probability 0) may be missing and is off then, and a field of ``NEWER_FIELDS`` has the value from
    there. Every other field has to be there, as ``config.from_json`` checks: a default need not be what the run was
    started with.
    """
    if not isinstance(values, dict):
        return values
    filled = dict(values)
    for group, name, fields in _newer_entries():
        recorded = filled.get(group) if group else filled
        if isinstance(recorded, dict) and name not in recorded:
            complete = fields | recorded
            filled = filled | {group: complete} if group else complete
    return filled


def _newer_entries() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield the group and the name of each entry that may be missing, and what it was before, with its options."""
    for path, value in NEWER_FIELDS.items():
        group, _, name = path.rpartition(".")
        yield group, name, {name: value}
    default = to_json(Recipe())
    for name, term in TERMS.items():
        if default["loss"][name] == 0:
            yield "loss", name, {field: default["loss"][field] for field in (name, *term.options)}
    for name, value in default["augmentation"].items():
        if isinstance(value, dict) and value["probability"] == 0:
            yield "augmentation", name, {name: value}


def differences(old: dict[str, Any], new: dict[str, Any], prefix: str = "") -> list[str]:
    """Return the fields in which two JSON objects differ, as ``field: old -> new``."""
    found = []
    for name in sorted(old.keys() | new.keys()):
        a, b = old.get(name), new.get(name)
        if isinstance(a, dict) and isinstance(b, dict):
            found += differences(a, b, f"{prefix}{name}.")
        elif a != b:
            found.append(f"{prefix}{name}: {a!r} -> {b!r}")
    return found


def flags(recorded: dict[str, Any], given: dict[str, Any], prefix: str = "") -> str:
    """Return the flags that make the given recipe the recorded one, as words of a shell.

    Args:
        recorded: The JSON values of a recipe.
        given: Those of another one, with the same fields.
        prefix: Of the fields' flags.
    """
    found = []
    for name, value in recorded.items():
        if isinstance(value, dict):
            found.append(flags(value, given[name], f"{prefix}{name}."))
        elif isinstance(value, bool) and value != given[name]:
            found.append(flag(name if value else f"no-{name}", prefix))
        elif value != given[name]:
            found.append(shlex.join([flag(name, prefix), *map(str, value if isinstance(value, list) else [value])]))
    return " ".join(filter(None, found))
