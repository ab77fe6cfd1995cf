"""Runs of others: recipe.json, thresholds.json and symbolic links."""

import json
import os
from pathlib import Path

import pytest
from hostile import change_record, refused

from pneumo.inference import decision_rule
from pneumo.inference.decision_rule import read_rule
from pneumo.modeling import models
from pneumo.runtime.errors import MAX_PART_LENGTH
from pneumo.training import run_directory, run_start
from pneumo.training.recipes import debug
from pneumo.training.run_directory import DatasetIdentity, RunDirectory

IDENTITY = DatasetIdentity(digest="a" * 64, folds_digest="b" * 64, num_folds=3, grouped_by="dicom", patients=9)


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return run_start.create(tmp_path / "run", debug(), IDENTITY)


RECORDS: dict[str, tuple[tuple[str, ...], object]] = {
    "recipe is a list": (("recipe",), []),
    "recipe is null": (("recipe",), None),
    "dataset is a string": (("dataset",), "x"),
    "dataset without fields": (("dataset",), {}),
    "dataset with more": (("dataset", "more"), 1),
    "a thousand million folds": (("dataset", "num_folds"), 10**9),
    "no fold": (("dataset", "num_folds"), 0),
    "negative number of folds": (("dataset", "num_folds"), -1),
    "folds as a string": (("dataset", "num_folds"), "5"),
    "folds as a fraction": (("dataset", "num_folds"), 5.5),
    "folds as a boolean": (("dataset", "num_folds"), True),
    "digest as a number": (("dataset", "digest"), 5),
    "name with an escape": (("recipe", "name"), "\x1b[2Jbest"),
    "name with markup": (("recipe", "name"), "<script>"),
    "seed as a string": (("recipe", "seed"), "0"),
    "huge seed": (("recipe", "seed"), 10**400),
    "epochs as a number": (("recipe", "epochs"), 1),
    "epochs as strings": (("recipe", "epochs"), ["1"]),
    "no epochs": (("recipe", "epochs"), []),
    "huge image": (("recipe", "image_size"), [10**9]),
    "batch as a string": (("recipe", "batch_size"), "16"),
    "optimizer unknown": (("recipe", "optimizer"), "__import__('os')"),
    "optimizer as a list": (("recipe", "optimizer"), ["adam"]),
    "views unknown": (("recipe", "tta"), ["../../x"]),
    "views as a string": (("recipe", "tta"), "hflip"),
    "compile as a number": (("recipe", "compile"), 1),
    "encoder unknown": (("recipe", "model", "encoder"), "../../evil"),
    "encoder of the hub": (("recipe", "model", "encoder"), "tu-hf_hub:evil/model"),
    "encoder that climbs": (("recipe", "model", "encoder"), "tu-resnet18.../../x"),
    "encoder as a number": (("recipe", "model", "encoder"), 5),
    "model is a string": (("recipe", "model"), "unet"),
    "unknown field": (("recipe", "\x1b[2J\nfield"), 1),
    "field of a megabyte": (("recipe", "x" * 1_000_000), 1),
    "newer": (("format_version",), 99),
    "version is a list": (("format_version",), [1]),
}


@pytest.mark.parametrize(("place", "value"), RECORDS.values(), ids=RECORDS)
def test_a_hostile_recipe_is_refused(run: RunDirectory, place: tuple[str, ...], value: object) -> None:
    change_record(run.path, place, value)
    text = refused(lambda: run_directory.load(run.path))
    name = place[-1] if place[-1].isidentifier() and len(place[-1]) < MAX_PART_LENGTH else "recipe"
    assert name.replace("_", " ") in text.replace("_", " ")


@pytest.mark.parametrize("name", ["tu-resnet18.evil", "tu-evil", "evil"])
def test_an_unknown_encoder_is_refused_before_anything_is_built(run: RunDirectory, name: str) -> None:
    change_record(run.path, ("recipe", "model", "encoder"), name)
    recipe = run_directory.load(run.path).recipe
    assert f"--model.encoder {name}; expected one of" in refused(lambda: models.build(recipe.model))


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"a":' * 100_000, "[]", "5", "", "\x00", '{"format_version": 1}', "1" * 9_999]
)
def test_json_without_a_recipe_is_refused(run: RunDirectory, text: str) -> None:
    (run.path / "recipe.json").write_text(text)
    refused(lambda: run_directory.load(run.path))


def test_a_recipe_of_gigabytes_or_a_pipe_is_refused(run: RunDirectory) -> None:
    os.truncate(run.path / "recipe.json", 1 << 40)
    assert "more than" in refused(lambda: run_directory.load(run.path))
    (run.path / "recipe.json").unlink()
    os.mkfifo(run.path / "recipe.json")
    assert "not a regular file" in refused(lambda: run_directory.load(run.path))


@pytest.mark.parametrize("place", ["fold-0", "fold-1/checkpoints", "fold-1/model.safetensors", "thresholds.json"])
def test_links_out_of_a_run_are_refused(run: RunDirectory, tmp_path: Path, place: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    link = run.path / place
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(outside)
    assert f"{link} is a symbolic link that leads out" in refused(lambda: run_directory.load(run.path))


def test_links_within_a_run_and_to_a_run_are_followed(run: RunDirectory, tmp_path: Path) -> None:
    (run.path / "fold-0").mkdir()
    (run.path / "fold-1").symlink_to("fold-0")
    (run.path / "loop").symlink_to("loop")
    (tmp_path / "link").symlink_to(run.path)
    assert run_directory.load(tmp_path / "link").dataset == IDENTITY


RULES = {
    "missing": {},
    "a list": [],
    "a string": "x",
    "strings": {"top_threshold": "x", "min_area": 0, "bottom_threshold": 0.5, "presence_threshold": 0},
    "not a number": {"top_threshold": float("nan"), "min_area": 0, "bottom_threshold": 0.5, "presence_threshold": 0},
    "infinite": {"top_threshold": float("inf"), "min_area": 0, "bottom_threshold": 0.5, "presence_threshold": 0},
    "infinite area": {"top_threshold": 0.5, "min_area": float("inf"), "bottom_threshold": 0.5, "presence_threshold": 0},
    "huge": {"top_threshold": 10**400, "min_area": 0, "bottom_threshold": 0.5, "presence_threshold": 0},
    "upside down": {"top_threshold": 0.2, "min_area": 0, "bottom_threshold": 0.5, "presence_threshold": 0},
    "all zero": {"top_threshold": 0.0, "min_area": 0, "bottom_threshold": 0.0, "presence_threshold": 0},
    "nested lists": {"top_threshold": [[[[0.5]]]], "min_area": 0, "bottom_threshold": 0.5, "presence_threshold": 0},
    "long": {"x" * 1_000_000: 1},
}


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_hostile_thresholds_are_refused(run: RunDirectory, rule: object) -> None:
    run.thresholds.write_text(json.dumps({"format_version": decision_rule.FORMAT_VERSION, "rule": rule}))
    refused(lambda: read_rule(run.thresholds))


@pytest.mark.parametrize("text", ["[" * 100_000, "[]", "{}", "x"])
def test_json_without_thresholds_is_refused(run: RunDirectory, text: str) -> None:
    run.thresholds.write_text(text)
    refused(lambda: read_rule(run.thresholds))
