"""Groups with their numbers and intervals; small ones are marked."""

from dataclasses import replace
from pathlib import Path

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


def test_with_the_dataset_groups_of_its_attributes_are_shown(dataset: Path) -> None:
    reader = ShardReader(dataset, SampleTable.read(dataset))
    train = reader.table.image_id[reader.table.select("train")]
    evidence = make_evidence()
    few = evidence.histograms.select(range(len(train)))  # type: ignore[arg-type]
    from pneumo.inference.evaluation import compute_metrics
    from pneumo.inference.threshold_search import nested_estimate

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
