"""What is refused before any variant is trained; through the command: tests/job/test_job_compare.py."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from comparisons import compared

from pneumo.dataset.manifest import Manifest
from pneumo.runtime.errors import UserError
from pneumo.training.consistency_config import ConsistencyConfig
from pneumo.training.recipe import Recipe
from pneumo.training.recipes import debug
from pneumo.training.variant_checks import check_recipes, check_runs


def test_all_variants_that_cannot_be_trained_are_refused_at_once_before_anything_is_read() -> None:
    def with_encoder(name: str) -> Recipe:
        return replace(debug(), model=replace(debug().model, encoder=name))

    taught = replace(debug(), pseudo_labels=replace(debug().pseudo_labels, share=0.2))
    wrong = compared(
        debug(), with_encoder("resnet35"), with_encoder("resnet34"), replace(debug(), precision="fp16"), taught
    )
    with pytest.raises(UserError) as error:
        check_recipes(wrong, torch.device("cpu"))
    found = str(error.value)
    assert found.startswith("3 mistakes: variant v1: --model.encoder resnet35 (expected one of ")
    assert "; variant v3: " in found
    assert "fp16" in found
    assert "; variant v4: --pseudo-labels.share 0.2 without --teacher (expected a run that labels)" in found
    with pytest.raises(UserError, match=r"^variant v1: --model\.encoder resnet35; expected one of") as alone:
        check_recipes(compared(debug(), with_encoder("resnet35")), torch.device("cpu"))
    actions = error.value.action.split("; ")
    assert actions[0] == alone.value.action
    assert len(actions) == len(set(actions)) > 1
    check_recipes(compared(debug(), with_encoder("resnet34")), torch.device("cpu"))


def test_a_variant_that_learns_from_unlabeled_images_is_refused_before_any_is_trained(dataset: Path) -> None:
    taught = replace(debug(), consistency=ConsistencyConfig(images=4))
    found = replace(compared(debug(), taught), dataset=dataset)
    with pytest.raises(UserError, match="images 4, and the dataset has no unlabeled images"):
        check_runs(found, Manifest.read(dataset))
