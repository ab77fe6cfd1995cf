"""The files of a run, and what is refused as its recipe.json."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from pneumo.runtime.errors import UserError
from pneumo.training import run_directory, run_start
from pneumo.training.recipes import debug
from pneumo.training.run_directory import DatasetIdentity

DATASET = DatasetIdentity(digest="a" * 64, folds_digest="b" * 64, num_folds=5, grouped_by="dicom", patients=9)


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"recipe\.json does not exist; expected .*; restore it, or check the path"):
        run_directory.load(tmp_path)
    (tmp_path / "recipe.json").write_text("{")
    with pytest.raises(UserError, match="cannot be read"):
        run_directory.load(tmp_path)


def test_a_url_is_named_as_one() -> None:
    with pytest.raises(
        UserError, match=r"^s3://x/y is a URL; expected the directory of a run on a file system of this"
    ):
        run_directory.load(Path("s3://x/y"))


def test_what_is_given_in_place_of_a_run_is_named(tmp_path: Path) -> None:
    run_start.create(tmp_path / "run", debug(), DATASET)
    (tmp_path / "run" / "fold-0").mkdir()
    (tmp_path / "dataset").mkdir()
    (tmp_path / "dataset" / "dataset.json").write_text("{}")
    given = {
        ".": rf"give a run in it, such as {tmp_path / 'run'}; of several, as of a blend, job/ensemble.py takes",
        "run/fold-0": rf"give the run's directory above: {tmp_path / 'run'}$",
        "dataset": "give the directory of a run, not that of the dataset$",
        "run,other": "separate several runs by spaces, not by commas$",
    }
    for path, action in given.items():
        with pytest.raises(UserError, match=rf"recipe\.json does not exist; .*; {action}"):
            run_directory.load(tmp_path / path)


@pytest.mark.parametrize(
    "path", ["pneumo", "recipe", "dataset", "encoder_sha256", "recipe.seed", "recipe.model", "dataset.excluded"]
)
def test_a_record_without_a_field_is_refused(tmp_path: Path, path: str) -> None:
    run_start.create(tmp_path / "run", debug(), DATASET)
    record = tmp_path / "run" / "recipe.json"
    content = json.loads(record.read_text())
    *group, name = path.split(".")
    del (content[group[0]] if group else content)[name]
    record.write_text(json.dumps(content))
    with pytest.raises(UserError, match=rf"recipe\.json\.{path} (is missing|is None)"):
        run_directory.load(tmp_path / "run")


VERSION_1 = """{
  "format_version": 1,
  "pneumo": "0.1.0",
  "recipe": {
    "name": "demo",
    "seed": 0,
    "model": {
      "architecture": "unet",
      "encoder": "mobilenet_v2",
      "encoder_weights": "none",
      "attention": "none",
      "empty_head": true
    },
    "loss": {"bce": 3.0, "dice": 1.0, "focal": 0.0, "focal_gamma": 2.0, "empty": 0.2, "dice_on": "positive"},
    "augmentation": {
      "hflip": 0.5,
      "affine": 0.5,
      "shift": 0.0625,
      "scale": 0.1,
      "rotate_deg": 15.0,
      "tone": 0.3,
      "contrast": 0.2,
      "gamma": 0.2,
      "brightness": 0.2,
      "distort": 0.0
    },
    "epochs": [12],
    "image_size": [96],
    "positive_rate": [],
    "final_positive_rate": [],
    "learning_rate": [0.003],
    "batch_size": 8,
    "micro_batch_size": 8,
    "optimizer": "adamw",
    "weight_decay": 0.0001,
    "warmup_epochs": 1.0,
    "final_lr_factor": 0.01,
    "clip_norm": 1.0,
    "ema_decay": 0.98,
    "precision": "auto",
    "channels_last": true,
    "compile": false,
    "loader": "auto",
    "validate_every": 2,
    "patience": 0,
    "keep": "last",
    "tta": ["hflip"]
  },
  "dataset": {
    "digest": "7c2bd90cd4edfe6aeb21eb83bc0d2ac4ee96071773ae7809ae483a4856875103",
    "folds_digest": "4708eaa26f25603284ac49314697150f2b170e16f0f2566bd9c2e715ac1c0edb",
    "folds": 2,
    "grouped_by": "patients csv",
    "patients": 160,
    "excluded": {}
  }
}
"""
"""A recipe.json as pneumo 0.1.0 wrote it."""


def of_version_1(record: Path) -> None:
    record.write_text(VERSION_1)


def of_version_99(record: Path) -> None:
    record.write_text(json.dumps({**json.loads(record.read_text()), "format_version": 99}))


@pytest.mark.parametrize(("change", "version"), [(of_version_1, 1), (of_version_99, 99)])
def test_a_run_of_another_format_version_is_refused_in_one_line(
    tmp_path: Path, change: Callable[[Path], None], version: int
) -> None:
    run_start.create(tmp_path / "run", debug(), DATASET)
    record = tmp_path / "run" / "recipe.json"
    change(record)
    for use in (run_directory.load, lambda path: run_start.create(path, debug(), DATASET)):
        with pytest.raises(UserError) as caught:
            use(tmp_path / "run")
        assert str(caught.value) == (
            f"{record} has format version {version}; expected format version 3; use the version of pneumo that "
            "wrote it, or start a new --run"
        )
