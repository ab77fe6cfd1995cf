"""Ratios of times and rates."""

from pneumo.bench.comparison import per_item, per_second


def test_ratio_is_the_median_of_the_rounds():
    rounds = {"ours": [1.0, 2.0, 1.0], "theirs": [10.0, 40.0, 30.0]}
    comparison = per_item("part", "what", "baseline", "ms", **rounds, scale=1000)
    assert (comparison.ours, comparison.theirs) == (1000, 30000)
    assert (comparison.lowest, comparison.ratio, comparison.highest) == (10, 20, 30)
    rate = per_second("part", "what", "baseline", "img/s", **rounds, items=60)
    assert (rate.ours, rate.theirs, rate.ratio) == (60, 2, 20)
