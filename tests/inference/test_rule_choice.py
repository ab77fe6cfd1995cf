from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from eager_fit import fit_all
from known_scores import draw_known
from random_maps import Maps, draw_maps

from pneumo.inference import metrics, rule_choice
from pneumo.inference.bootstrap import interval
from pneumo.inference.decision_rule import DecisionRule, predict_presence, score_images
from pneumo.inference.evaluation import compute_metrics
from pneumo.inference.histograms import PredictionHistograms
from pneumo.inference.nested import NestedEstimate, assign_subsets, score_subsets
from pneumo.inference.rule_choice import apply_recorded, choose
from pneumo.inference.threshold_search import SearchGrid, search
from pneumo.runtime.errors import UserError

COARSE = SearchGrid(
    top_bins=(64, 128, 192), min_areas=(0.0, 1000.0), bottom_bins=(64, 128, 192), presence_thresholds=(0.0, 0.5)
)
"""Without a presence threshold near 4/7, so that the decision by expected score is better."""


def both(histograms: PredictionHistograms, grid: SearchGrid) -> tuple[DecisionRule, DecisionRule]:
    thresholds = search(histograms, grid)
    return thresholds, replace(thresholds, expected_score=fit_all(histograms))


def scores_more(histograms: PredictionHistograms, grid: SearchGrid, subset: np.ndarray) -> bool:
    """Return whether expected score has a higher Dice than thresholds, each subset by the rules of the others."""
    sums = [0.0, 0.0]
    for k in np.unique(subset):
        for number, rule in enumerate(both(histograms.select(subset != k), grid)):
            sums[number] += score_images(histograms.select(subset == k), rule).sum()
    return bool((sums[1] - sums[0]) / len(histograms) > 1e-9)


@pytest.mark.parametrize("seed", [0, 1, 3])
def test_each_fold_is_scored_by_the_kind_that_is_better_on_the_other_folds(seed: int) -> None:
    known = draw_known(150, seed=seed, folds=3)
    nested = choose(known, COARSE)
    assert nested.rule_index.tolist() == known.fold.tolist()
    for fold, rule in enumerate(nested.rules):
        others, own = known.select(known.fold != fold), known.select(known.fold == fold)
        by_score = scores_more(others, COARSE, others.fold)
        assert rule == both(others, COARSE)[by_score]
        assert np.array_equal(nested.dice[known.fold == fold], score_images(own, rule))
        assert np.array_equal(nested.predicted_positive[known.fold == fold], predict_presence(own, rule))
    assert nested.final == both(known, COARSE)[scores_more(known, COARSE, known.fold)]


def test_with_known_probabilities_the_decision_by_expected_score_is_chosen_and_scores_as_bayes() -> None:
    known = draw_known(3000)
    nested = choose(known, COARSE)
    found = nested.comparison
    assert found is not None
    assert (found.chosen, nested.final.expected_score is not None) == ("expected score", True)
    # The integral over P of the better of 1 - P and .75 P: (1 - p^2 / 2 ... at p = 4/7) = 4/7 - 8/49 + .375 * 33/49.
    by_bayes = 4 / 7 - 8 / 49 + 0.375 * 33 / 49
    assert found.expected_score.dice == pytest.approx(by_bayes, abs=0.02)
    best = np.where(known.presence_probability > 4 / 7, 0.75 * known.positive, ~known.positive)
    assert found.expected_score.dice == pytest.approx(best.mean(), abs=0.003)


def test_the_comparison_is_paired_and_of_single_kinds() -> None:
    known = draw_known(200, patients=80)
    nested = choose(known, COARSE)
    dice = np.empty((2, 200))
    for fold in range(5):
        for number, rule in enumerate(both(known.select(known.fold != fold), COARSE)):
            dice[number, known.fold == fold] = score_images(known.select(known.fold == fold), rule)
    found = nested.comparison
    assert found is not None
    assert (found.thresholds.dice, found.expected_score.dice) == pytest.approx(tuple(dice.mean(axis=1)), abs=1e-12)
    assert found.difference == pytest.approx(dice[1].mean() - dice[0].mean(), abs=1e-12)
    assert found.difference_interval == interval(dice[1] - dice[0], known.patient.astype(np.int64))
    assert compute_metrics(known, nested).rule_comparison == found


@pytest.mark.parametrize("folds", [5, 2, 1])
def test_a_fold_s_own_truth_does_not_change_its_decisions(folds: int) -> None:
    """A leak is planted: the truth of one subset is inverted, as if somebody had known it."""
    known = draw_known(120, folds=folds)
    before = choose(known, COARSE)
    held = before.rule_index == 0
    leaked = invert(known, held)
    after = choose(leaked, COARSE)
    assert np.array_equal(after.rule_index, before.rule_index)
    assert after.rules[0] == before.rules[0]
    assert np.array_equal(after.predicted_positive[held], before.predicted_positive[held])
    assert before.estimates is not None
    assert after.estimates is not None
    assert np.array_equal(after.estimates.presence[held], before.estimates.presence[held])
    assert np.array_equal(after.estimates.dice[held], before.estimates.dice[held])
    # What was chosen on it did change.
    assert not np.array_equal(after.estimates.presence[~held], before.estimates.presence[~held])
    assert after.final != before.final


def invert(known: PredictionHistograms, index: np.ndarray) -> PredictionHistograms:
    """Make positive images negative, and the others positive with a lesion of their highest pixels."""
    total = known.inside + known.outside
    lesion = np.where(np.arange(256) >= 200, total, 0)
    inside = np.where(index[:, None], np.where(known.positive[:, None], 0, lesion), known.inside)
    return replace(known, inside=inside, outside=total - inside, positive=inside.sum(axis=1) > 0)


@pytest.mark.parametrize("folds", [1, 2])
def test_two_halves_are_divided_by_patients_to_choose_the_kind(folds: int) -> None:
    known = draw_known(80, folds=folds, patients=20)
    nested = choose(known, COARSE)
    rules = rule_choice._Rules.of(known, COARSE, nested.rule_index)
    assert np.array_equal(rules.part // 2, nested.rule_index)
    for patient in range(20):
        assert len(set(rules.part[known.patient == patient].tolist())) == 1
    for k, rule in enumerate(nested.rules):
        other = nested.rule_index != k
        by_score = scores_more(known.select(other), COARSE, rules.part[other])
        assert rule == both(known.select(other), COARSE)[by_score]


def test_where_nothing_can_be_fitted_the_thresholds_are_chosen() -> None:
    known = draw_known(40)
    without = known.select(~known.positive)
    nested = choose(without)
    assert nested.estimates is None
    assert nested.comparison is not None
    assert (nested.comparison.chosen, nested.comparison.difference) == ("thresholds", 0.0)
    assert nested.final == search(without)
    assert nested.dice.tolist() == [1.0] * len(without)


def test_each_rule_s_mean_is_over_the_images_that_it_is_chosen_on(monkeypatch: pytest.MonkeyPatch) -> None:
    counts, real = [], rule_choice.best
    monkeypatch.setattr(rule_choice, "best", lambda *of_rule: counts.append(of_rule[1]) or real(*of_rule))
    choose(draw_maps().histograms.select(np.arange(27)), COARSE)
    # Of each fold, of two, and of all.
    assert sorted(counts) == [8, 9, 10, 8 + 9, 8 + 10, 9 + 10, 27]


def test_a_presence_threshold_without_another_is_that_of_the_rule(maps: Maps, maps_without_presence: Maps) -> None:
    grid = replace(COARSE, presence_thresholds=(0.4,))
    assert choose(maps.histograms, grid).final.presence_threshold == 0.4
    assert choose(maps_without_presence.histograms, grid).final.presence_threshold == 0.0


def test_few_images_are_enough_and_one_is_not() -> None:
    known = draw_known(40)
    for few in ([0, 1], [0, 5], [0, 1, 2], [0, 5, 10]):
        assert isinstance(choose(known.select(np.array(few)), COARSE), NestedEstimate)
    with pytest.raises(UserError, match="of 1 image; expected at least two"):
        choose(known.select(np.array([0])))


@pytest.mark.parametrize("folds", [3, 1])
def test_a_finished_run_keeps_the_rules_that_its_metrics_record(folds: int) -> None:
    """They are others than today's choice, as those of another version may be."""
    maps = draw_maps(folds=folds).histograms
    other = [DecisionRule(90 + 20 * k, 0.0, 80, 0.25) for k in range(max(folds, 2))]
    subset = assign_subsets(maps)
    recorded = compute_metrics(maps, score_subsets(maps, subset, other, DecisionRule(77, 100.0, 66)))
    found = apply_recorded(maps, recorded)
    assert (found.rules, found.final) == (tuple(other), DecisionRule(77, 100.0, 66))
    assert found.rules != choose(maps).rules
    for k, rule in enumerate(other):
        own = maps.select(subset == k)
        assert found.dice[subset == k].tolist() == score_images(own, rule).tolist()
        assert found.predicted_positive[subset == k].tolist() == predict_presence(own, rule).tolist()
    assert found.dice.mean() == recorded.nested.dice
    # Written before rules were compared.
    assert (found.comparison, found.estimates) == (None, None)


@pytest.mark.parametrize("kind", ["thresholds", "expected score"])
def test_recorded_rules_have_the_comparison_and_the_estimates_of_their_choice(
    kind: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(rule_choice._Rules, "better", lambda *_: kind)
    known = draw_known(150, folds=3)
    chosen = choose(known, COARSE)
    metrics.write(tmp_path / "metrics.json", compute_metrics(known, chosen))
    found = apply_recorded(known, metrics.read(tmp_path / "metrics.json"))
    assert (found.rules, found.final, found.comparison) == (chosen.rules, chosen.final, chosen.comparison)
    assert np.array_equal(found.dice, chosen.dice)
    assert found.estimates is not None
    assert chosen.estimates is not None
    for name in ("presence", "mask_bin", "dice"):
        assert np.array_equal(getattr(found.estimates, name), getattr(chosen.estimates, name)), name


def test_metrics_of_other_images_are_refused() -> None:
    maps = draw_maps().histograms
    recorded = compute_metrics(maps)
    with pytest.raises(
        UserError, match=r"has metrics of 30 images in 3 parts, .*predictions of 29 images in 3; .*restore"
    ):
        apply_recorded(maps.select(np.arange(29)), recorded)


def test_metrics_of_another_run_of_the_same_folds_are_refused() -> None:
    """Its rules would score these predictions, and the scores would be of neither."""
    mine, other = draw_known(150, folds=3), draw_known(150, seed=1, folds=3)
    apply_recorded(mine, compute_metrics(mine))
    with pytest.raises(
        UserError, match=r"^RUN/metrics\.json has a nested Dice of 0\.\d+, and .* have 0\.\d+ by the rules"
    ):
        apply_recorded(mine, compute_metrics(other), "RUN/metrics.json")


@pytest.mark.parametrize("change", [{"images": 149}, {"positives": 0}], ids=["images", "positives"])
def test_metrics_with_other_counts_are_refused(change: dict[str, int]) -> None:
    known = draw_known(150, folds=3)
    with pytest.raises(UserError, match="has a nested Dice of"):
        apply_recorded(known, replace(compute_metrics(known), **change))
