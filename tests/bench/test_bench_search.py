"""The loop over the rules finds what the search finds."""

import pytest

from pneumo.bench import search
from pneumo.inference import decision_rule, threshold_search


def test_loop_over_the_rules_finds_the_best_rule_of_the_search():
    histograms = search.draw(30, presence=True)
    grid = threshold_search.SearchGrid(
        top_bins=(32, 96, 160),
        min_areas=(0.0, 1000.0),
        bottom_bins=(32, 96),
        presence_thresholds=(0.0, 0.5),
    )
    every = search.list_rules(grid)
    assert len(every) == len(set(every)) == (1 + 2 + 2) * 2 * 2
    found = decision_rule.score_images(histograms, threshold_search.search(histograms, grid)).mean()
    assert max(search.loop(histograms, [decision_rule.DecisionRule(*rule) for rule in every])) == pytest.approx(found)
