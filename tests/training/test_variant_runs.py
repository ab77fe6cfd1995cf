"""What tests/job/test_job_compare.py, which runs comparisons through the command, does not show."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pneumo.dataset.manifest import Manifest
from pneumo.runtime.errors import UserError
from pneumo.training.consistency_config import ConsistencyConfig
from pneumo.training.loop import LoopOptions
from pneumo.training.recipe import Recipe
from pneumo.training.recipes import debug
from pneumo.training.variant_runs import ComparisonInputs, _check_recipes, _check_runs, _Progress, _work
from pneumo.training.variants import Variant


def inputs(*recipes: Recipe, seeds: Sequence[int] = (0,)) -> ComparisonInputs:
    return ComparisonInputs(
        variants=[
            Variant(name=f"v{n}", flags="", recipe=recipe, where=f"variant v{n}") for n, recipe in enumerate(recipes)
        ],
        seeds=seeds,
        dataset=Path("data"),
        out=Path("out"),
        folds=(0, 1),
        options=LoopOptions(checkpoint_minutes=1.0, workers=1),
        skip_damaged=False,
    )


def test_the_networks_are_those_of_the_first_variant_of_the_same_training_and_the_same_seed() -> None:
    found = inputs(
        debug(), replace(debug(), epochs=(2,)), replace(debug(), tta=()), replace(debug(), min_component=9.0)
    )
    first, other, without_tta, small = found.variants
    assert found.source(first, 3) is None
    assert found.source(other, 3) is None
    for variant in (without_tta, small):
        source = found.source(variant, 3)
        assert source is not None
        assert (source.run, source.recipe.seed) == (Path("out/runs/v0-seed-3"), 3)


def test_networks_of_another_teacher_are_others() -> None:
    taught = replace(debug(), pseudo_labels=replace(debug().pseudo_labels, share=0.2))
    found = inputs(taught, replace(taught, tta=()), replace(taught, tta=()))
    teachers = (Path("a"), Path("b"), Path("a"))
    variants = [replace(each, teacher=path) for each, path in zip(found.variants, teachers, strict=True)]
    found = replace(found, variants=variants)
    assert found.source(variants[1], 0) is None
    source = found.source(variants[2], 0)
    assert source is not None
    assert (source.run, source.teacher) == (Path("out/runs/v0-seed-0"), Path("a"))


def test_all_variants_that_cannot_be_trained_are_refused_at_once_before_anything_is_read() -> None:
    def with_encoder(name: str) -> Recipe:
        return replace(debug(), model=replace(debug().model, encoder=name))

    taught = replace(debug(), pseudo_labels=replace(debug().pseudo_labels, share=0.2))
    wrong = inputs(
        debug(), with_encoder("resnet35"), with_encoder("resnet34"), replace(debug(), precision="fp16"), taught
    )
    with pytest.raises(UserError) as error:
        _check_recipes(wrong, torch.device("cpu"))
    found = str(error.value)
    assert found.startswith("3 mistakes: variant v1: --model.encoder resnet35 (expected one of ")
    assert "; variant v3: " in found
    assert "fp16" in found
    assert "; variant v4: --pseudo-labels.share 0.2 without --teacher (expected a run that labels)" in found
    with pytest.raises(UserError, match=r"^variant v1: --model\.encoder resnet35; expected one of") as alone:
        _check_recipes(inputs(debug(), with_encoder("resnet35")), torch.device("cpu"))
    actions = error.value.action.split("; ")
    assert actions[0] == alone.value.action
    assert len(actions) == len(set(actions)) > 1
    _check_recipes(inputs(debug(), with_encoder("resnet34")), torch.device("cpu"))


def test_a_step_takes_as_long_as_what_it_sees_of_an_image() -> None:
    whole = replace(debug(), epochs=(4, 2), image_size=(128,))
    assert _work(replace(whole, crop_size=(64,))) == _work(whole) / 4
    assert _work(replace(whole, crop_size=(64, 128))) == _work(whole) * (4 / 4 + 2) / 6
    # A batch has 4 labeled images.
    assert _work(replace(whole, consistency=ConsistencyConfig(images=6))) == _work(whole) * 2.5


def test_the_time_left_is_that_of_the_epochs_and_pixels_still_to_be_trained(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    long = replace(debug(), epochs=(2, 3), image_size=(64, 128))
    progress = _Progress(inputs(debug(), replace(debug(), tta=()), long, seeds=(0, 1)), [True, *[False] * 5])
    progress.log(1)
    progress.add(debug(), 60.0)
    # Of networks that were there already.
    progress.add(debug(), 0.0)
    progress.log(4)
    first, second = caplog.messages
    assert first == "run 2 of 6: variant v0 (1 of 3), seed 1"
    # Two runs of 2 + 4 * 3 times as much.
    assert second == "run 5 of 6: variant v2 (3 of 3), seed 0; about 28:00 left, by the runs so far"


def test_a_variant_that_learns_from_unlabeled_images_is_refused_before_any_is_trained(dataset: Path) -> None:
    taught = replace(debug(), consistency=ConsistencyConfig(images=4))
    found = replace(inputs(debug(), taught), dataset=dataset)
    with pytest.raises(UserError, match="images 4, and the dataset has no unlabeled images"):
        _check_runs(found, Manifest.read(dataset))
