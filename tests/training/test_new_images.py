"""A recipe's smallest component holds for every command that predicts with its run."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from command_driver import call
from finished_runs import finish_folds, tiny_recipe

from pneumo.distributed.world import World
from pneumo.inference.ensembler import Ensembler, ImagePrediction
from pneumo.synthetic.tree import SyntheticTree


def test_the_recipe_s_limit_holds_without_a_flag_and_a_smaller_flag_does_not_lower_it(
    dataset: Path, synthetic: SyntheticTree, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is removed under a limit is tested with ``Ensembler``; the limit is all that the commands choose."""
    run = finish_folds(tmp_path / "run", dataset, world, replace(tiny_recipe(), tta=(), min_component=2.0**20))
    limits, predict = [], Ensembler.run

    def note_limit(ensembler: Ensembler, *arguments: Any, **options: Any) -> list[ImagePrediction]:
        limits.append(ensembler.min_component)
        return predict(ensembler, *arguments, **options)

    monkeypatch.setattr(Ensembler, "run", note_limit)
    one = min(synthetic.test_dicom.rglob("*.dcm"))
    for command, *words in (
        ("ensemble", "--runs", run.path, "--dataset", dataset, "--out", tmp_path / "s.csv"),
        ("predict", "--run", run.path, "--dicom", one, "--out", tmp_path / "out", "--min-component", 1),
    ):
        code, *output = call(str(command), [*map(str, words)])
        assert code in (0, None), output
    assert limits == [2.0**20, 2.0**20]
