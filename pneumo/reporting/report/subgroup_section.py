"""The section on groups of images: by size of the lesion, view, sex, age and pixel spacing."""

from collections.abc import Mapping

from pneumo.inference.metrics import Interval95
from pneumo.inference.subgroups import Subgroup, lesion_area, score_subgroups, table_variables
from pneumo.reporting.html import charts
from pneumo.reporting.html.charts import Estimate
from pneumo.reporting.html.page import Block, Cell, Column, Figure, Figures, Prose, Section, Table
from pneumo.reporting.report.facts import Evidence, RunFacts
from pneumo.reporting.report.words import score, with_interval

SMALL = 30
"""Images of a group; of fewer, its figures say little, and are marked."""

_RATES = ("sensitivity (95 % interval)", "specificity (95 % interval)")


def subgroups(facts: RunFacts, evidence: Evidence) -> Section:
    """Return the section."""
    found = _groups(facts, evidence)
    text = (
        "Nested Dice of parts of the images, with 95 % intervals of a bootstrap over patients. A group's Dice depends"
        " on how many of its images are empty: compare it with its own baseline, the Dice of empty masks. Groups of"
        f" fewer than {SMALL} images are marked as small: their figures say little."
    )
    blocks: list[Block] = [Prose(paragraphs=[text])]
    if facts.reader is None:
        where = "Groups by sex, age, view and spacing need the dataset: job/report.py --run RUN --dataset DATASET."
        blocks.append(Prose(paragraphs=[where]))
    blocks.append(Figures(items=[_chart(name, groups, evidence) for name, groups in found.items() if groups]))
    blocks.append(_table(found))
    return Section(title="Subgroups", blocks=blocks)


def _groups(facts: RunFacts, evidence: Evidence) -> Mapping[str, list[Subgroup]]:
    variables = {"lesion size": lesion_area(evidence.histograms)}
    if facts.reader is not None:
        variables |= table_variables(facts.reader.table, evidence.histograms.image_id.tolist())
    return {
        name: list(score_subgroups(evidence.histograms, evidence.nested, variable))
        for name, variable in variables.items()
    }


def _chart(name: str, groups: list[Subgroup], evidence: Evidence) -> Figure:
    estimates = [
        Estimate(
            name=one.name, value=one.scores.dice, low=one.dice_interval[0], high=one.dice_interval[1],
            note=f"n {one.images:,}{', small' * (one.images < SMALL)}",
        )
        for one in groups
    ]  # fmt: skip
    described = "; ".join(f"{one.name} {with_interval(one.scores.dice, one.dice_interval)}" for one in groups)
    dice = evidence.metrics.nested.dice if name != "lesion size" else evidence.metrics.nested.dice_positive
    chart = charts.intervals(
        estimates, description=f"Nested Dice by {name}: {described}", x_label="nested Dice", reference=dice,
        reference_name="all images" if name != "lesion size" else "all positive images",
    )  # fmt: skip
    of = "Positive images alone, by the area of the true mask." if name == "lesion size" else ""
    return Figure(content=chart, caption=f"By {name}. {of}".strip())


def _rate(value: float | None, interval: Interval95 | None) -> str:
    return score(value) if value is None or interval is None else with_interval(value, interval)


def _table(found: Mapping[str, list[Subgroup]]) -> Table:
    numbers = ("images", "positive", "patients", "Dice (95 % interval)", "baseline", *_RATES)
    columns = [Column(title="group"), *(Column(title=title, numeric=True) for title in numbers)]
    rows: list[list[Cell]] = [
        [
            f"{name}: {one.name}{' (small)' * (one.images < SMALL)}", one.images, one.positives, one.patients,
            with_interval(one.scores.dice, one.dice_interval), score(one.dice_all_empty),
            _rate(one.scores.sensitivity, one.sensitivity_interval),
            _rate(one.scores.specificity, one.specificity_interval),
        ]
        for name, groups in found.items()
        for one in groups
    ]  # fmt: skip
    return Table(caption="Scores of the groups", columns=columns, rows=rows)
