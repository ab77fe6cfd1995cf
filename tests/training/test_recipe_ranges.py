"""Every field of a recipe out of its range, on the command line and in a record; a field without a line here fails."""

import dataclasses
import functools
import json
import math
import operator
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from pneumo.modeling.losses.registry import TERMS
from pneumo.runtime import cli
from pneumo.runtime.config import from_json
from pneumo.runtime.errors import UserError
from pneumo.training.recipe import Recipe
from pneumo.training.recipe_json import to_json
from pneumo.training.recipes import RECIPES

NAN, INF = math.nan, math.inf
NUMBERS: list[Any] = [NAN, INF, -INF, -1, -1e-9, 1e300, "x", None, True, [], {}]
COUNTS: list[Any] = [-1, 0.5, 10**30, NAN, INF, "1", None, True, [1], {}]
TEXTS: list[Any] = [0, None, True, ["x"], {}]
SWITCHES: list[Any] = [0, 1, "true", None, []]
PER_STAGE: list[Any] = [1, "1", None, True, {}, ["1"], [None], [True], [NAN], [INF], [0], [-1], [[1]], [1e300]]
SHARES: list[Any] = [*NUMBERS, 1.001]
BELOW_ONE: list[Any] = [*NUMBERS, 1, 1.0, 1.5]
WEIGHTS: list[Any] = [*NUMBERS, 1.1e38]

WRONG: dict[str, list[Any]] = {
    "name": TEXTS,
    "seed": [*COUNTS, 2**32],
    "epochs": [*PER_STAGE, [], [1.5], [100_001], [3, 0], [1, 2, 3]],
    "image_size": [*PER_STAGE, [], [31], [33], [64.0], [4128], [0], [512, 100]],
    "crop_size": [*PER_STAGE, [31], [33], [64.0], [1056], [0], [512, 544, 512]],
    "positive_rate": [*PER_STAGE, [1.001], [0.5, 0.0]],
    "final_positive_rate": [*PER_STAGE, [1.001], [0.5, 0.0]],
    "learning_rate": [*PER_STAGE, [], [10], [1e-3, 0.0]],
    "batch_size": [*COUNTS, 0, 65_537, 3],
    "micro_batch_size": [*COUNTS, 0, 3, 65_536],
    "freeze_encoder_norm": SWITCHES,
    "optimizer": [*TEXTS, "sgd", ""],
    "weight_decay": SHARES,
    "warmup_epochs": [*NUMBERS, 100_001],
    "final_lr_factor": SHARES,
    "schedule": [*TEXTS, [], "cosine", ["step"], ["cosine", 1]],
    "cosine_epochs": [*COUNTS, 100_001],
    "plateau.factor": [*NUMBERS, 0, 1, 1.0],
    "plateau.patience": COUNTS,
    "plateau.threshold": SHARES,
    "plateau.min_learning_rate": [*NUMBERS, 10],
    "clip_norm": [*NUMBERS, 1e7],
    "ema_decay": BELOW_ONE,
    "swa_epochs": [*COUNTS, 100_001, 41],
    "precision": [*TEXTS, "fp8", ""],
    "channels_last": SWITCHES,
    "compile": SWITCHES,
    "loader": [*TEXTS, "pil", ""],
    "validate_every": [*COUNTS, 0, 100_001],
    "patience": [*COUNTS, 100_001],
    "keep": [*TEXTS, "first", ""],
    "best_checkpoints": [*COUNTS, 0, 17, 2],
    "min_component": [*NUMBERS, 2**20 + 1],
    "tta": ["hflip", 1, None, ["vflip"], [1], ["hflip", "hflip"]],
    "model.architecture": [*TEXTS, "unett", ""],
    "model.encoder": [*TEXTS, "", "../resnet34", "tu-hf_hub:a/b", "x" * 100_000],
    "model.encoder_weights": TEXTS,
    "model.decoder_channels": [1, None, "x", [64] * 4, [64] * 6, [64, 32, 16, 8, 0], [4097] * 5, [64.5] * 5],
    "model.attention": [*TEXTS, "cbam", ""],
    "model.presence_head": SWITCHES,
    "model.presence_input": [*TEXTS, "mask", ""],
    **{f"loss.{term}": WEIGHTS for term in TERMS},
    "loss.bce_border": [*COUNTS, 257],
    "loss.focal_gamma": [*NUMBERS, 0.999, 16.1],
    "loss.dice_on": [*TEXTS, "none", ""],
    "loss.dice_over": [*TEXTS, "batch", ""],
    "augmentation.rng_scheme": [0, 3, 1.0, "1", None, True],
    "augmentation.flip.probability": SHARES,
    "augmentation.affine.probability": SHARES,
    "augmentation.affine.translate": BELOW_ONE,
    "augmentation.affine.scale": BELOW_ONE,
    "augmentation.affine.rotate_deg": [*NUMBERS, 180.1],
    "augmentation.intensity.probability": SHARES,
    "augmentation.intensity.contrast": BELOW_ONE,
    "augmentation.intensity.gamma": BELOW_ONE,
    "augmentation.intensity.brightness": BELOW_ONE,
    "augmentation.distortion.probability": SHARES,
    "pseudo_labels.share": BELOW_ONE,
    "pseudo_labels.positive": SHARES,
    "pseudo_labels.negative": SHARES,
    "pseudo_labels.threshold": [*NUMBERS, 0, 1.0],
    "pseudo_labels.min_area": [*NUMBERS, 2**20 + 1],
    "consistency.images": [*COUNTS, 65_537, 2],
    "consistency.weight": WEIGHTS,
    "consistency.presence_weight": WEIGHTS,
    "consistency.ramp_up_epochs": [*NUMBERS, 100_001],
}

TOGETHER: dict[str, tuple[dict[str, Any], str]] = {
    "stages of different counts": ({"epochs": [1, 2], "image_size": [64, 64, 64]}, "--epochs 1 2; expected one value"),
    "a last share without a first": ({"positive_rate": [], "final_positive_rate": [0.5]}, "--positive-rate to be set"),
    "no whole number of micro-batches": (
        {"batch_size": 6, "micro_batch_size": 4},
        "a multiple of --micro-batch-size 4",
    ),
    "a micro-batch larger than the batch": ({"batch_size": 2, "micro_batch_size": 4}, "expected 1 to --batch-size"),
    "no loss on the mask": ({"loss.bce": 0, "loss.dice": 0, "loss.focal": 0}, "are all 0"),
    "more networks than validations": (
        {"epochs": [9, 5], "keep": "best", "best_checkpoints": 4, "validate_every": 2},
        "at most 3, the validations that the last stage has at least",
    ),
    "more networks than an early end leaves": (
        {"keep": "best", "best_checkpoints": 4, "patience": 2},
        "at most 3, the validations that the last stage has at least",
    ),
    "a part larger than the image": ({"image_size": [512, 1024], "crop_size": [768]}, "at most --image-size 512"),
    "more averaged epochs than a stage has": ({"epochs": [5, 2], "swa_epochs": 3}, "at most the 2 of --epochs"),
    "averaged epochs of a stage that may end early": ({"swa_epochs": 2, "patience": 3}, "0, or --patience 0"),
    "too few channels for scSE": (
        {"model.decoder_channels": [64, 32, 16, 16, 8], "model.attention": "scse"},
        "at least 16 channels",
    ),
    "labels that are positive and negative": (
        {"pseudo_labels.positive": 0.5, "pseudo_labels.negative": 0.6},
        "expected less than --pseudo-labels.positive 0.5",
    ),
    "unlabeled images of no whole number of micro-batches": (
        {"consistency.images": 6},
        "--consistency.images 6; expected a multiple of --micro-batch-size 4",
    ),
    "unlabeled images without a teacher": (
        {"consistency.images": 4, "ema_decay": 0.0},
        "--consistency.images 4; expected 0, or --ema-decay above 0",
    ),
    "unlabeled images of which nothing is learned": (
        {"consistency.images": 4, "consistency.weight": 0.0, "consistency.presence_weight": 0.0},
        "--consistency.weight 0; expected more than 0, or --consistency.images 0",
    ),
    "a presence that no head predicts": (
        {"consistency.images": 4, "model.presence_head": False, "loss.presence": 0.0},
        "--consistency.presence-weight 0.5; expected 0, or --model.presence-head",
    ),
    "a loss of a head that is not there": (
        {"model.presence_head": False, "loss.presence": 0.5},
        "0, or --model.presence-head",
    ),
}


def fields(config: object, prefix: str = "") -> Iterator[str]:
    """Name every field, those of nested dataclasses with a dot."""
    for field in dataclasses.fields(config):  # type: ignore[arg-type]
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            yield from fields(value, f"{prefix}{field.name}.")
        else:
            yield prefix + field.name


def flag(field: str) -> str:
    return "--" + field.replace("_", "-")


def record(**changed: Any) -> dict[str, Any]:
    """Return the record of a recipe in which every field matters, with some values changed."""
    values = to_json(RECIPES["best"]())
    for field, value in changed.items():
        *groups, name = field.split(".")
        functools.reduce(operator.getitem, groups, values)[name] = value
    return values


def test_every_field_has_its_line_here() -> None:
    assert set(fields(Recipe())) == set(WRONG)
    assert all(WRONG.values())


CASES = [(field, value) for field, values in WRONG.items() for value in values]


@pytest.mark.parametrize(("field", "value"), CASES, ids=[f"{f}={v!r}"[:60] for f, v in CASES])
def test_a_record_out_of_range_is_refused(field: str, value: Any) -> None:
    with pytest.raises(UserError) as caught:
        from_json(Recipe, record(**{field: value}), "recipe")
    message = str(caught.value)
    # Two fields that fit one another name either, and stages are counted over all fields that have them.
    flags = (flag(field), "--micro-batch-size", "--batch-size", "--epochs")
    assert message.startswith((f"recipe.{field}", *(f"recipe: {name}" for name in flags)))
    assert "; expected " in message
    assert message.isprintable()
    assert len(message) < 5000


@pytest.mark.parametrize(("changed", "message"), TOGETHER.values(), ids=TOGETHER)
def test_values_that_contradict_each_other_are_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        from_json(Recipe, record(**changed), "recipe")
    assert message in str(caught.value)


@pytest.mark.parametrize("content", [None, [], "recipe", 1, {"model": []}, {"model": None}, {"loss": "x"}])
def test_a_record_of_another_shape_is_refused(content: Any) -> None:
    with pytest.raises(UserError, match="an object with the fields of this version"):
        from_json(Recipe, content, "recipe")


def test_a_record_of_all_recipes_passes() -> None:
    for recipe in RECIPES.values():
        assert from_json(Recipe, json.loads(json.dumps(to_json(recipe()))), "recipe") == recipe()


def words() -> Iterator[tuple[str, list[str]]]:
    """Yield (field, words) that no field of the recipe takes."""
    for field in WRONG:
        if field in ("name", "augmentation.rng_scheme"):
            continue  # hidden: --recipe and the version of pneumo set them
        if field in ("channels_last", "compile", "freeze_encoder_norm", "model.presence_head"):
            yield field, [flag(field), "maybe"]
        elif field in ("model.encoder", "model.encoder_weights"):
            # Any text may be a name or a path; whether there is such a one is seen after the flags are read.
            yield field, [flag(field)]
        else:
            yield field, [flag(field), "nan"]
            yield field, [flag(field), "-1"]


@pytest.mark.parametrize(
    ("field", "argv"), list(words()), ids=lambda item: " ".join(item) if isinstance(item, list) else ""
)
def test_a_flag_out_of_range_is_refused_by_name(
    field: str, argv: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.run(lambda: parse(argv))
    assert ended.value.code == 2
    # The range of a number is ours to name, in one line; a word that is no number at all is tyro's.
    message = capsys.readouterr().err
    assert flag(field) in message or argv[-1] in message
    if " ERROR " in message:
        (only,) = message.splitlines()
        assert "; expected " in only


def parse(argv: list[str]) -> None:
    cli.parse(Recipe, argv, prog="job/train.py", description="")
    raise AssertionError(f"{argv} passed")


def test_the_last_recipe_named_counts(tmp_path: Path, load_command: Callable[[str], ModuleType]) -> None:
    """The values of one recipe must not be recorded under the name of another."""
    train = load_command("train")
    for argv in (["--recipe", "best", "--recipe", "debug"], ["--recipe=best", "--recipe=debug"]):
        arguments, recipe = train.parse(["--dataset", str(tmp_path), "--run", str(tmp_path), *argv])
        assert arguments.recipe == "debug"
        assert recipe == RECIPES["debug"]()
