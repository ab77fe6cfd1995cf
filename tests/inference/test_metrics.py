"""metrics.json, and its table."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from moved_rules import moved_to

from pneumo.inference.decision_rule import DecisionRule
from pneumo.inference.evaluation import compute_metrics
from pneumo.inference.metrics import (
    BlendedRun,
    Metrics,
    Scores,
    describe,
    describe_comparison,
    describe_move,
    other_removal,
    read,
    rule_for_new_images,
    write,
)
from pneumo.runtime.config import from_json
from pneumo.runtime.errors import UserError


@pytest.fixture(scope="module")
def metrics(maps):
    return compute_metrics(maps.histograms)


def json_and_back(metrics: Metrics) -> Metrics:
    return from_json(Metrics, json.loads(json.dumps(asdict(metrics), allow_nan=False)), "metrics.json")


def test_table_shows_folds_estimates_and_the_rule(metrics):
    lines = describe(metrics).splitlines()
    assert [line.split()[0] for line in lines[1:4]] == ["fold"] * 3
    assert lines[4].startswith("nested ")
    assert lines[5].startswith("in-sample ")
    assert len({len(line) for line in lines[:6]}) == 1
    assert "every image empty" in lines[6]
    assert "positive with" in lines[-1]
    assert json_and_back(metrics) == metrics


def test_what_is_not_said_is_one_network_and_no_image_excluded(metrics):
    assert (metrics.networks, metrics.submission_networks, metrics.excluded) == (1, 1, 0)


def test_file_gives_the_metrics_back(metrics, tmp_path):
    write(tmp_path / "metrics.json", metrics)
    assert read(tmp_path / "metrics.json") == metrics


@pytest.mark.parametrize(
    "place",
    ["auc", "networks", "mean_of_rules", "excluded", "caveats", "oof_csv_dice", "nested.dice", "in_sample.rule"],
)
def test_file_without_a_field_is_refused(metrics, place, tmp_path):
    path = tmp_path / "metrics.json"
    write(path, metrics)
    content = json.loads(path.read_text())
    *group, name = place.split(".")
    del (content[group[0]] if group else content)[name]
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=rf"metrics\.json\.{place} is missing; expected every field; restore the file"):
        read(path)


def test_a_file_of_before_rules_were_compared_is_read(metrics, tmp_path):
    path = tmp_path / "metrics.json"
    write(path, metrics)
    content = json.loads(path.read_text())
    assert content.pop("rule_comparison")["chosen"] in ("thresholds", "expected score")
    assert content.pop("min_component") == 0
    assert content.pop("submission_rule") is None
    for scores in (content["in_sample"], *content["folds"]):
        del scores["rule"]["expected_score"]
    path.write_text(json.dumps(content))
    found = read(path)
    assert (found.rule_comparison, found.nested, found.min_component) == (None, metrics.nested, 0)
    assert found.in_sample.rule.expected_score is None


def test_masks_that_lose_other_components_than_those_that_are_scored_are_told():
    assert other_removal(0, 0) == other_removal(101, 101) == []
    (removed,), (kept,), (fewer,) = other_removal(0, 101), other_removal(101, 0), other_removal(101, 50)
    begin = "masks lose their components below"
    assert removed == f"{begin} 101 px (of 1024x1024), while the metrics are of masks that keep all of theirs"
    assert kept == "masks keep their small components, while the metrics are of masks that lose those below 101 px"
    assert fewer == f"{begin} 50 px (of 1024x1024), while the metrics are of masks that lose those below 101 px"


def test_the_table_says_which_kind_of_rule_is_used_and_why(metrics):
    comparison = metrics.rule_comparison
    assert comparison is not None
    assert describe_comparison(comparison) in describe(metrics)
    other = replace(comparison, difference=-0.0123, difference_interval=(-0.02, 0.001), chosen="thresholds")
    text = describe_comparison(other)
    assert "difference -0.0123 (-0.0200 to +0.0010); new images are decided by thresholds" in text


def test_file_of_version_1_is_refused_in_one_line(tmp_path):
    path = tmp_path / "metrics.json"
    path.write_text('{"format_version": 1, "images": 32, "all_empty": 0.5, "gain": 0.1}')
    message = r"metrics\.json has format version 1; expected format version 3; use the version"
    with pytest.raises(UserError, match=message) as raised:
        read(path)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("text", ["", "[]", "{", None])
def test_file_that_is_no_metrics_is_refused(text, tmp_path):
    path = tmp_path / "metrics.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UserError, match=r"metrics\.json .*expected the metrics of a finished run"):
        read(path)


def test_a_blends_metrics_have_its_runs_and_the_mean_of_their_rules(metrics, tmp_path):
    scores = Scores(dice=0.5, dice_empty=0.6, dice_positive=None, sensitivity=0.25, specificity=1.0)
    runs = [BlendedRun(run="runs/a", weight=0.75, nested_dice=0.4), BlendedRun(run="b", weight=0.25, nested_dice=0.3)]
    blend = replace(metrics, networks=2, submission_networks=6, runs=runs, mean_of_rules=scores)
    write(tmp_path / "blend.metrics.json", blend)
    assert read(tmp_path / "blend.metrics.json") == blend
    lines = describe(blend).splitlines()
    assert lines[6].split() == [
        "mean",
        "rule",
        "30",
        str(metrics.positives),
        *["0.5000", "0.6000", "-", "0.2500", "1.0000"],
    ]
    assert len({len(line) for line in lines[:7]}) == 1
    assert "out-of-fold predictions are of 2 networks, submissions are means of 6" in lines


def test_the_rule_for_new_images_is_the_moved_one_where_there_is_one(metrics, tmp_path):
    assert metrics.submission_rule is None
    assert rule_for_new_images(metrics).in_probabilities() == metrics.in_sample.rule
    rule = DecisionRule(70, 1000.0, 50, 0.25)
    moved = moved_to(rule)
    changed = replace(metrics, submission_rule=moved)
    write(tmp_path / "metrics.json", changed)
    assert read(tmp_path / "metrics.json") == changed
    assert rule_for_new_images(changed) == rule
    *_, move, last = describe(changed).splitlines()
    assert move == (
        "of 500 test images the networks of a fold call 21.3% positive, on average over the folds, and the mean of all"
        " networks 17.3% by the same rule, 21.2% by its own rule"
    )
    assert last == f"rule for new images: {rule.describe()}"
    assert describe_move(replace(moved, enough_positive=False)) == (
        "of 500 test images the networks of a fold call 21.3% positive, on average over the folds, and the mean of"
        " all networks 17.3% by the same rule, which is not moved: too few are positive to say where it belongs for"
        " the mean"
    )


def test_a_moved_rule_of_before_it_was_said_why_others_stay_is_read(metrics: Metrics, tmp_path: Path) -> None:
    moved = replace(metrics, submission_rule=moved_to(DecisionRule(70, 1000.0, 50, 0.25)))
    write(tmp_path / "metrics.json", moved)
    content = json.loads((tmp_path / "metrics.json").read_text())
    del content["submission_rule"]["enough_positive"]
    (tmp_path / "metrics.json").write_text(json.dumps(content))
    assert read(tmp_path / "metrics.json") == moved
