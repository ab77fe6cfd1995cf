from dataclasses import replace

import pytest

from pneumo.inference.comparison_json import Comparison, Difference, Score, ScoredRun, ScoredVariant
from pneumo.inference.metrics import Auc
from pneumo.reporting.comparison_table import SCORES, describe, table

DIFFERENCE = Difference(value=-0.0125, interval=(-0.03, 0.005), standard_error=0.009, detectable=0.0252)


def variant(name: str, *seeds: int, difference: Difference | None = None, without: str = "") -> ScoredVariant:
    runs = [
        ScoredRun(run=name, seed=s, dice=0.7 + s / 100, auc=Auc(presence_head=0.5, max_pixel=0.5), seconds=3600.0)
        for s in seeds
    ]
    scores = {key: Score(value=0.75, interval=(0.7, 0.8), difference=difference) for key in SCORES if key != without}
    return ScoredVariant(name=name, flags=f"--recipe {name}", runs=runs, scores=scores)


def comparison(*variants: ScoredVariant) -> Comparison:
    return Comparison(
        pneumo="1.2",
        command="job/compare.py --out c",
        hardware="1 process, each cpu",
        dataset_digest="0123456789abcdef",
        folds_digest="f",
        num_folds=5,
        folds=[0, 1],
        seeds=sorted({run.seed for variant in variants for run in variant.runs}),
        images=967,
        positives=215,
        patients=799,
        dice_all_empty=0.7777,
        bootstrap_resamples=2000,
        variants=list(variants),
        unfinished=["later"],
        caveats=["too high"],
    )


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_the_table_has_a_row_for_each_variant_with_its_difference_to_the_first() -> None:
    found = comparison(variant("a", 0), variant("b", 0, difference=DIFFERENCE, without="auc_presence_head"))
    header, rule, first, second = map(cells, table(found).splitlines())
    assert len(header) == len(rule) == len(first) == len(second)
    a, b = (dict(zip(header, row, strict=True)) for row in (first, second))
    assert (a["variant"], a["nested Dice - a"], a["could be shown"], a["training time"]) == ("a", "-", "-", "1:00:00")
    assert a["nested Dice"] == "0.7500 (0.7000 to 0.8000)"
    assert a["gain over all empty"] == "+0.7500 (+0.7000 to +0.8000)"
    assert (a["AUC, head"], b["AUC, head"]) == ("0.7500", "-")
    assert (b["nested Dice - a"], b["could be shown"]) == ("-0.0125 (-0.0300 to +0.0050)", "0.0252")


def test_the_time_of_a_training_that_two_variants_share_is_there_once() -> None:
    header, _, first, second = map(
        cells, table(comparison(variant("a", 0), replace(variant("b", 0), networks_of="a"))).splitlines()
    )
    times = [dict(zip(header, row, strict=True))["training time"] for row in (first, second)]
    assert times == ["1:00:00", "that of a"]


def test_of_a_variant_that_differs_in_no_image_nothing_could_be_shown() -> None:
    nothing = Difference(value=0.0, interval=(0.0, 0.0), standard_error=0.0, detectable=0.0)
    header, _, _, second = map(
        cells, table(comparison(variant("a", 0), variant("b", 0, difference=nothing))).splitlines()
    )
    assert dict(zip(header, second, strict=True))["could be shown"] == "-"


def test_the_page_says_what_was_measured() -> None:
    found = comparison(variant("a", 0, 1), variant("b", 0, 1, difference=DIFFERENCE))
    text = describe(found)
    for part in (
        "967 images, 215 with a pneumothorax, 799 patients; every image empty has a Dice of 0.7777",
        "folds 0, 1 of 5; seeds 0, 1, whose scores are averaged at each image",
        "1 process, each cpu; pneumo 1.2",
        "`job/compare.py --out c`",
        "still to be trained: later",
        "- a: `--recipe a`",
        "- too high",
        "Differences to a:",
        "- sensitivity, specificity: the share of images with a pneumothorax that get a mask",
        "| a | 0.7000 | 0.7100 |",
    ):
        assert part in text, part
    others = describe(comparison(variant("a", 0), variant("b", 1, 2, difference=DIFFERENCE)))
    assert (
        "seeds that differ between the variants, which a difference does not tell from their flags (a: 0; b: 1, 2)"
        in others
    )
    assert "averaged" not in others
    alone = describe(replace(comparison(variant("a", 0)), unfinished=[], caveats=[]))
    for part in ("Differences to", "in words", "by seed", "still to be", "better than on new"):
        assert part not in alone, part


@pytest.mark.parametrize(
    ("interval", "error", "words"),
    [
        ((0.001, 0.02), 0.005, "these networks are better than those of a"),
        ((-0.02, -0.001), 0.005, "these networks are worse than those of a"),
        ((-0.004, 0.02), 0.005, "not shown to be better or worse than a: only about 0.014 would show"),
        ((0.0, 0.0), 0.0, "no image has another Dice than with a"),
    ],
)
def test_a_difference_in_words(interval: tuple[float, float], error: float, words: str) -> None:
    found = Difference(value=sum(interval) / 2, interval=interval, standard_error=error, detectable=2.8 * error)
    text = describe(comparison(variant("a", 0), variant("b", 0, difference=found)))
    assert f"Nested Dice in words:\n\n- b: {words}\n" in text
