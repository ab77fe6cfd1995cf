"""Groups with their numbers and intervals; small ones are marked."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from report_facts import html_of, make_evidence, make_facts, table_of

from pneumo.dataset.shard_reader import ShardReader
from pneumo.dataset.table import SampleTable
from pneumo.inference.subgroups import lesion_area, score_subgroups
from pneumo.reporting.report.subgroup_section import subgroups


def test_lesions_by_size_need_no_dataset_and_few_images_are_marked() -> None:
    evidence = make_evidence()
    section = subgroups(make_facts(), evidence)
    rows = table_of(section).rows
    groups = list(score_subgroups(evidence.histograms, evidence.nested, lesion_area(evidence.histograms)))
    assert [row[0] for row in rows] == [f"lesion size: {one.name} (small)" for one in groups]
    assert sum(int(row[1]) for row in rows) == 16
    assert "need the dataset: job/report.py --run RUN --dataset DATASET" in html_of(section)
    low, high = groups[-1].dice_interval
    assert rows[-1][4] == f"{groups[-1].scores.dice:.3f} ({low:.3f} to {high:.3f})"
    assert groups[-1].sensitivity_interval is not None
    low, high = groups[-1].sensitivity_interval
    assert rows[-1][6] == f"{groups[-1].scores.sensitivity:.3f} ({low:.3f} to {high:.3f})"
    assert rows[-1][7] == "-", "no image of the group is empty"


def test_lesions_are_compared_with_the_positive_images_and_other_groups_with_all(
    dataset: Path, drawn: list[SimpleNamespace]
) -> None:
    reader = ShardReader(dataset, SampleTable.read(dataset))
    train = reader.table.image_id[reader.table.select("train")]
    evidence = make_evidence()
    histograms = replace(evidence.histograms.select(np.arange(len(train))), image_id=train)
    metrics = replace(evidence.metrics, nested=replace(evidence.metrics.nested, dice=0.7, dice_positive=0.4))
    nested = replace(
        evidence.nested, rule_index=evidence.nested.rule_index[: len(train)], dice=evidence.nested.dice[: len(train)],
        predicted_positive=evidence.nested.predicted_positive[: len(train)],
    )  # fmt: skip
    subgroups(make_facts(reader=reader), replace(evidence, histograms=histograms, nested=nested, metrics=metrics))
    assert [(one.description.partition(":")[0], one.reference, one.reference_name) for one in drawn] == [
        ("Nested Dice by lesion size", 0.4, "all positive images"),
        *((f"Nested Dice by {name}", 0.7, "all images") for name in ("sex", "age", "view", "pixel spacing")),
    ]


def test_a_group_s_value_is_the_mean_of_its_images(drawn: list[SimpleNamespace]) -> None:
    evidence = make_evidence()
    subgroups(make_facts(), evidence)
    (chart,) = drawn
    # Areas of 4096 pixels are a 256th of those of an image of 1024 x 1024.
    areas = (evidence.histograms.inside.sum(axis=1) * 256).tolist()
    expected: dict[str, list[float]] = {"below": [], "2,000": [], "8,000": [], "32,000": []}
    for area, dice in zip(areas, evidence.nested.dice.tolist(), strict=True):
        if area:
            name = "32,000" if area >= 32_000 else "8,000" if area >= 8_000 else "2,000" if area >= 2_000 else "below"
            expected[name].append(dice)
    means = [(len(one), sum(one) / len(one)) for one in expected.values() if one]
    assert [(int(one.note.split()[1].strip(",")), one.value) for one in chart.estimates] == [
        (number, pytest.approx(mean)) for number, mean in means
    ]


def test_with_the_dataset_groups_of_its_attributes_are_shown(dataset: Path) -> None:
    reader = ShardReader(dataset, SampleTable.read(dataset))
    train = reader.table.image_id[reader.table.select("train")]
    evidence = make_evidence()
    few = evidence.histograms.select(range(len(train)))  # type: ignore[arg-type]
    from plain_nested import nested_estimate

    from pneumo.inference.evaluation import compute_metrics

    histograms = replace(few, image_id=train)
    nested = nested_estimate(histograms)
    evidence = replace(evidence, histograms=histograms, nested=nested, metrics=compute_metrics(histograms, nested))
    section = subgroups(make_facts(reader=reader), evidence)
    names = {str(row[0]).partition(":")[0] for row in table_of(section).rows}
    assert names == {"lesion size", "sex", "age", "view", "pixel spacing"}
    html = html_of(section)
    assert html.count("<svg ") == 5
    assert "need the dataset" not in html
    assert "Nested Dice by sex: F 0." in html
