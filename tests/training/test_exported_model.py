import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import torch
from finished_runs import tiny_recipe

from pneumo.runtime.errors import UserError
from pneumo.training import run_directory
from pneumo.training.exported_model import load, without_paths, write_record
from pneumo.training.run_directory import DatasetIdentity

IDENTITY = DatasetIdentity(
    digest="a" * 64,
    folds_digest="b" * 64,
    num_folds=2,
    grouped_by="dicom",
    patients=9,
    excluded={"1.2.840.77": "cut short"},
    excluded_unlabeled={"1.2.840.77.1": "cut short"},
)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """The files of an exported model, of which only the weights are read here."""
    path = tmp_path / "model"
    path.mkdir()
    for name in ("model_card.md", "thresholds.json", "metrics.json"):
        (path / name).write_text(f"content of {name}")
    for fold in range(2):
        (path / f"fold-{fold}.safetensors").write_bytes(safetensors.torch.save({"w": torch.full((3,), fold)}))
    write_record(
        path,
        recipe=tiny_recipe(),
        dataset=IDENTITY,
        encoder_sha256="c" * 64,
        trained_with="0.1.9",
        exported_with="0.2.0",
    )
    return path


def test_it_is_read_as_it_was_written(model: Path) -> None:
    assert run_directory.is_exported(model)
    found = load(model)
    assert (found.recipe, found.path) == (tiny_recipe(), model)
    assert found.dataset == replace(IDENTITY, excluded={}, excluded_unlabeled={})
    assert [float(weights.read()["w"][0]) for weights in found.weights] == [0.0, 1.0]
    assert (found.thresholds, found.metrics) == (model / "thresholds.json", model / "metrics.json")


def test_one_of_before_unlabeled_images_were_excluded_is_read(model: Path) -> None:
    record = json.loads((model / "model.json").read_text())
    del record["dataset"]["excluded_unlabeled"]
    (model / "model.json").write_text(json.dumps(record))
    assert load(model).dataset.excluded_unlabeled == {}


def test_no_image_and_no_directory_is_named(model: Path) -> None:
    assert "1.2.840.77" not in (model / "model.json").read_text()
    recipe = tiny_recipe()
    for given, left in (
        ("/home/someone/se_resnext.pth", "se_resnext.pth"),
        *((n, n) for n in ("imagenet", "none", "packaged")),
    ):
        changed = without_paths(replace(recipe, model=replace(recipe.model, encoder_weights=given)))
        assert changed == replace(recipe, model=replace(recipe.model, encoder_weights=left))


def cut(model: Path) -> None:
    os.truncate(model / "fold-1.safetensors", 10)


def flip(model: Path) -> None:
    data = bytearray((model / "fold-1.safetensors").read_bytes())
    data[-1] ^= 1
    (model / "fold-1.safetensors").write_bytes(data)


def remove(model: Path) -> None:
    (model / "model_card.md").unlink()


def pipe(model: Path) -> None:
    remove(model)
    os.mkfifo(model / "model_card.md")


def edit(change: Callable[[dict[str, dict[str, object]]], object]) -> Callable[[Path], None]:
    def edited(model: Path) -> None:
        content = json.loads((model / "model.json").read_text())
        change(content)
        (model / "model.json").write_text(json.dumps(content))

    return edited


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (cut, "fold-1.safetensors has 10 bytes, not "),
        (flip, "fold-1.safetensors has another SHA-256"),
        (remove, "model_card.md is missing"),
        (pipe, "model_card.md is no regular file"),
        (
            lambda model: (model / "model.json").unlink(),
            "model.json does not exist; expected the model.json that job/ex",
        ),
        (edit(lambda c: c["files"].pop("fold-1.safetensors")), "model.json lists no 1 .fold-1.safetensors."),
        (edit(lambda c: c["dataset"].update(num_folds=3)), "model.json lists no 1 .fold-2.safetensors."),
        (edit(lambda c: c["files"].update({"../x": c["files"]["metrics.json"]})), "lists unknown files: 1 .../x."),
        (edit(lambda c: c.update(format_version=2)), "format version 2; expected format version 1; use the version"),
        (edit(lambda c: c["recipe"].pop("seed")), "model.json.recipe.seed is missing"),
        (edit(lambda c: c.update(code="x")), "model.json.code is an unknown field"),
        *(
            (
                edit(lambda c, name=name: c["recipe"].update(name=name)),
                "model.json.*--recipe .*; expected a name of letters",
            )
            for name in ("", "a b", "\x1b[2J", "<script>", "x" * 101)
        ),
        *(
            (
                edit(lambda c, name=name: c["recipe"]["model"].update(encoder_weights=name)),
                "model.json names a directory of encoder weights; expected",
            )
            for name in ("/home/someone/a.pth", "../a.pth", "c:\\a.pth", "a/")
        ),
    ],
)
def test_what_was_changed_is_refused(model: Path, damage: Callable[[Path], None], message: str) -> None:
    damage(model)
    with pytest.raises(UserError, match=message):
        load(model)


def test_a_file_that_is_not_listed_is_not_looked_at(model: Path) -> None:
    (model / "notes.txt").write_text("of the user")
    load(model)


def test_a_run_is_asked_for_where_a_model_cannot_be_used(model: Path) -> None:
    with pytest.raises(
        UserError, match=r"recipe.json does not exist; .*give the directory of a run: an exported model"
    ):
        run_directory.load(model)
