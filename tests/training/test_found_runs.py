import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from finished_runs import finish_folds, tiny_recipe

from pneumo.distributed.world import World
from pneumo.inference import bootstrap, metrics, presence_curves
from pneumo.inference.decision_rule import DecisionRule, score_images
from pneumo.inference.evaluation import compute_metrics
from pneumo.inference.nested import assign_subsets, score_subsets
from pneumo.inference.rule_choice import choose
from pneumo.runtime.errors import UserError
from pneumo.training import found_runs, run_directory
from pneumo.training.fold_results import read_histograms
from pneumo.training.found_runs import compare_runs, group
from pneumo.training.recipe import Recipe
from pneumo.training.recipes import debug, demo
from pneumo.training.run_directory import DatasetIdentity, RunDirectory

DATASET = DatasetIdentity(digest="d", folds_digest="f", num_folds=2, grouped_by="none", patients=4)


def run(path: str, recipe: Recipe, seed: int = 0, teacher: str = "") -> RunDirectory:
    recipe = replace(recipe, seed=seed)
    return RunDirectory(path=Path(path), recipe=recipe, dataset=DATASET, encoder_sha256="", teacher_sha256=teacher)


def test_runs_that_differ_in_the_seed_alone_are_one_variant() -> None:
    runs = [run("a/one-seed-3", debug(), 3), run("two", demo()), run("b/x", debug(), 1)]
    assert group(runs) == {"one": [runs[0], runs[2]], "two": [runs[1]]}


def test_runs_of_two_teachers_are_two_variants() -> None:
    runs = [run("a", debug(), 0, "1"), run("b", debug(), 1, "2"), run("c", debug(), 0), run("d", debug(), 1, "1")]
    assert group(runs) == {"a": [runs[0], runs[3]], "b": [runs[1]], "c": [runs[2]]}


def test_names_that_are_there_twice_are_paths() -> None:
    runs = [run("a/run", debug()), run("b/run", demo())]
    assert list(group(runs)) == ["a/run", "b/run"]


def test_the_same_recipe_and_seed_is_refused() -> None:
    with pytest.raises(UserError, match="a and c have the same recipe and the same seed"):
        group([run("a", debug()), run("b", demo()), run("c", debug())])


def test_runs_of_other_datasets_are_told_apart_before_their_recipes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same command on two datasets gives the same recipe and seed."""
    elsewhere = replace(run("b", debug()), dataset=replace(DATASET, digest="e"))
    runs = {Path("a"): run("a", debug()), Path("b"): elsewhere}
    monkeypatch.setattr(run_directory, "load", runs.__getitem__)
    monkeypatch.setattr(found_runs, "_require_finished", lambda *_: None)
    with pytest.raises(UserError, match="b was trained on another dataset than a"):
        compare_runs(list(runs), (), tmp_path / "out")


def test_the_first_run_is_described_by_its_flags() -> None:
    changed, plain, taught = (
        run("a", replace(debug(), epochs=(3,)), 5),
        run("b", debug()),
        run("c", debug(), 0, "12" * 32),
    )
    assert found_runs._describe(changed, changed) == "--recipe debug; epochs: [1] -> [3]"
    assert found_runs._describe(plain, plain) == "--recipe debug"
    assert found_runs._describe(plain, changed) == "epochs: [3] -> [1]"
    assert found_runs._describe(taught, taught) == "--recipe debug; labels of the teacher 121212121212"
    assert found_runs._describe(taught, plain) == "labels of the teacher 121212121212"


def test_a_run_with_metrics_has_the_scores_of_its_own_report(
    dataset: Path, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its rules are others than today's choice, as those of another version may be."""
    monkeypatch.setattr(bootstrap, "RESAMPLES", 20)
    monkeypatch.setattr(presence_curves, "RESAMPLES", 20)
    first = finish_folds(tmp_path / "first", dataset, world)
    second = finish_folds(tmp_path / "second", dataset, world, recipe=replace(tiny_recipe(), seed=1), seed=1)
    histograms = read_histograms(first)
    # It calls some images positive and some empty.
    other = DecisionRule(top := int(np.sort(histograms.max_bin)[len(histograms) // 2]), 0.0, top)
    nested = score_subsets(histograms, assign_subsets(histograms), [other, other], other)
    metrics.write(first.metrics, compute_metrics(histograms, nested))
    assert nested.dice.mean() != choose(histograms).dice.mean()

    def compared(*folds: int) -> list[float]:
        compare_runs([first.path, second.path], folds, tmp_path / "out")
        found = json.loads((tmp_path / "out" / "comparison.json").read_text())
        return [run["dice"] for run in found["variants"][0]["runs"]]

    of_second = choose(read_histograms(second)).dice.mean()
    assert compared() == [score_images(histograms, other).mean(), of_second]
    # The thresholds of some folds are chosen on these alone.
    one = histograms.select(histograms.fold == 1)
    assert compared(1)[0] == choose(one).dice.mean() != score_images(one, other).mean()


def test_what_auto_became_was_not_given() -> None:
    started = run("a", replace(debug(), precision="fp32", loader="opencv"))
    assert found_runs._describe(started, started) == "--recipe debug"
