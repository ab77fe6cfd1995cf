from dataclasses import replace

import pytest
from moved_rules import moved_to

from pneumo.inference.decision_rule import NEVER, DecisionRule
from pneumo.inference.metrics import (
    Auc,
    FoldScores,
    Metrics,
    NestedScores,
    RuleScores,
    Scores,
    describe_move,
)
from pneumo.inference.subgroups import Subgroup
from pneumo.reporting.model_card import CardFacts, render

RULE = DecisionRule(top_bin=192, min_area=1250.0, bottom_bin=96, presence_threshold=0.35)
SCORES = {"dice": 0.8123, "dice_empty": 0.91, "dice_positive": 0.41, "sensitivity": 0.52, "specificity": 0.93}
METRICS = Metrics(
    images=400,
    positives=100,
    patients=260,
    dice_all_empty=0.75,
    dice_over_empty=0.0623,
    dice_over_empty_interval=(0.011, 0.107),
    nested=NestedScores(**SCORES, dice_interval=(0.781, 0.838)),
    in_sample=RuleScores(**{**SCORES, "dice": 0.8291}, rule=RULE.in_probabilities()),
    bootstrap_resamples=2000,
    auc=Auc(presence_head=0.934, max_pixel=0.901),
    folds=[
        FoldScores(
            fold=0,
            images=400,
            positives=100,
            dice_all_empty=0.75,
            **SCORES,
            auc=Auc(presence_head=None, max_pixel=None),
            rule=RULE.in_probabilities(),
        )
    ],
    submission_networks=5,
    caveats=["folds may leak, and the metrics may be too high"],
)
FACTS = CardFacts(
    recipe_name="best",
    recipe=["The network is a U-Net.", "The seed is 0."],
    size=512,
    presence_head=True,
    min_component=0.0,
    metrics=METRICS,
    rule=RULE,
    subgroups={},
    dataset_digest="a" * 64,
    folds_digest="b" * 64,
    grouped_by="patients csv",
    encoder_sha256="c" * 64,
    trained_with="0.1.9",
    exported_with="0.2.0",
    onnx="on 4 images of the dataset",
    libraries={"torch": "2.14.1"},
)


def test_every_section_and_figure_is_there() -> None:
    card = render(FACTS)
    assert card.startswith("# Pneumothorax segmentation in chest X-rays, recipe `best`\n\n**Not for clinical use.**")
    titles = [line[3:] for line in card.splitlines() if line.startswith("## ")]
    assert titles == [
        *("Intended use", "Data", "Training", "Scores", "Subgroups", "Decision rule", "Limits", "How to use it"),
        "Versions",
    ]
    for text in (
        "| nested | 0.812 (0.781 to 0.838) | 0.410 | 0.910 | 0.520 | 0.930 |",
        "| in-sample | 0.829 | 0.410 | 0.910 | 0.520 | 0.930 |",
        "| every image empty | 0.750 | 0.000 | 1.000 | 0.000 | 1.000 |",
        "+0.062 (+0.011 to +0.107)",
        "bootstrap over 260 patients, 2000 resamples",
        "presence head 0.934, highest pixel 0.901",
        "- 400 labeled images, 100 (25.0%) with a pneumothorax, of 260 patients; 1 fold.",
        "All images of a patient are in one fold, by a list of patients",
        "- The network is a U-Net.\n- The seed is 0.",
        "- Folds may leak, and the metrics may be too high.",
        "Positive with 1250 px (of 1024x1024) of probability >= 0.750",
        "Trained with pneumo 0.1.9; exported with pneumo 0.2.0, torch 2.14.1.",
        f"First weights of the encoder: SHA-256 `{'c' * 64}`.",
        "Compared with torch at the export, on 4 images of the dataset",
    ):
        assert text in card, text


def test_what_is_not_known_is_not_measured() -> None:
    card = render(FACTS)
    for variable in ("sex", "age", "view", "pixel spacing"):
        assert f"By {variable}: not measured (`job/export.py --dataset` measures it)." in card
    assert "Differences between sexes, ages and views: not measured." in card
    without_groups = render(replace(FACTS, grouped_by="none"))
    assert "images of one patient may be in several folds, and the scores may be too high" in without_groups


@pytest.mark.parametrize(
    ("over", "interval", "words"),
    [
        (0.001, (-0.01, 0.02), "**Not clearly better than empty masks. "),
        (-0.248, (-0.351, -0.15), "**Worse than empty masks. "),
    ],
)
def test_a_model_that_is_no_better_than_empty_masks_says_so_at_its_top(
    over: float, interval: tuple[float, float], words: str
) -> None:
    assert words not in render(FACTS)
    poor = replace(METRICS, dice_over_empty=over, dice_over_empty_interval=interval)
    assert words in render(replace(FACTS, metrics=poor)).partition("## Intended use")[0]


def test_a_subgroup_is_a_row_beside_its_own_baseline() -> None:
    scores = Scores(**{**SCORES, "specificity": None})
    group = Subgroup(
        name="F",
        images=31,
        positives=7,
        patients=20,
        dice_all_empty=0.774,
        scores=scores,
        dice_interval=(0.7, 0.9),
    )
    card = render(replace(FACTS, subgroups={"sex": [group]}))
    assert "| F | 31 | 7 | 20 | 0.774 | 0.812 (0.700 to 0.900) | 0.520 | - |" in card
    assert "Differences between sexes, ages and views: not measured." not in card


@pytest.mark.parametrize("presence_head", [True, False])
def test_the_program_has_the_numbers_of_the_rule(presence_head: bool) -> None:
    card = render(replace(FACTS, presence_head=presence_head))
    program = card.partition("```python\n")[2].partition("```")[0]
    compile(program, "model_card.md", "exec")
    assert "SIZE = 512" in program
    assert "probability >= 0.75)" in program
    assert "probability >= 0.375)" in program
    assert ("area >= 1250 and presence[0] >= 0.35" in program) == presence_head
    assert ("`presence_probability`" in card) == presence_head


def test_a_rule_without_a_minimum_area_needs_a_pixel_and_one_that_is_never_met_gives_empty_masks() -> None:
    program = render(replace(FACTS, rule=replace(RULE, min_area=0.0, presence_threshold=0.0)))
    assert "positive = area >= 1e-09\n" in program
    card = render(replace(FACTS, rule=replace(RULE, min_area=NEVER)))
    assert "Every mask is empty." in card


def test_an_export_without_onnx_has_no_program() -> None:
    card = render(replace(FACTS, onnx="", encoder_sha256=""))
    assert "This export has no `model.onnx`." in card
    assert "```python" not in card
    assert "First weights of the encoder: random." in card


def test_components_that_the_program_leaves_are_told() -> None:
    told = "removes components of a mask below 3501 px"
    assert told in (with_all := render(replace(FACTS, min_component=3501.0)))
    assert "masks without them" not in with_all
    scored = render(replace(FACTS, min_component=3501.0, metrics=replace(METRICS, min_component=3501.0)))
    assert f"{told} (of 1024x1024), which the program leaves in it. The scores are of masks without them." in scored
    assert "components of a mask" not in render(FACTS)


def test_a_rule_that_was_moved_for_the_mean_is_told() -> None:
    moved = moved_to(RULE)
    card = render(replace(FACTS, metrics=replace(METRICS, submission_rule=moved)))
    assert f"this is that of their mean, whose probabilities are less extreme: {describe_move(moved)}." in card
    few = replace(moved, enough_positive=False)
    card = render(replace(FACTS, metrics=replace(METRICS, submission_rule=few)))
    assert f"by the rule of single networks, which decides about their mean, too: {describe_move(few)}." in card
    assert "that of their mean" not in card
    assert "that of their mean" not in render(FACTS)
