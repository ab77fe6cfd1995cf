"""Recipes as JSON values: writing, reading, and listing the differences of two."""

import dataclasses
import json
from typing import Any

from pneumo.runtime import config
from pneumo.training.recipe import Recipe


def to_json(recipe: Recipe) -> dict[str, Any]:
    """Return the recipe as JSON values: nested objects, tuples as lists."""
    return json.loads(json.dumps(dataclasses.asdict(recipe)))  # type: ignore[no-any-return]


def from_json(values: object, where: str = "recipe") -> Recipe:
    """Make a recipe of the values that ``to_json`` returned.

    Args:
        values: The JSON object.
        where: Names the document, for messages.

    Raises:
        UserError: On unknown fields, and values of another type or out of range.
    """
    return config.from_json(Recipe, values, where)


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
