"""Which training a variant shares with an earlier one."""

from dataclasses import replace
from pathlib import Path

from comparisons import compared

from pneumo.training.recipes import debug


def test_the_networks_are_those_of_the_first_variant_of_the_same_training_and_the_same_seed() -> None:
    found = compared(
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
    found = compared(taught, replace(taught, tta=()), replace(taught, tta=()))
    teachers = (Path("a"), Path("b"), Path("a"))
    variants = [replace(each, teacher=path) for each, path in zip(found.variants, teachers, strict=True)]
    found = replace(found, variants=variants)
    assert found.source(variants[1], 0) is None
    source = found.source(variants[2], 0)
    assert source is not None
    assert (source.run, source.teacher) == (Path("out/runs/v0-seed-0"), Path("a"))
