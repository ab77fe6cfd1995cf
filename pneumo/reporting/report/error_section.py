"""The section on errors: how many lesions are missed, how many alarms are false, and whether drains may cause them."""

from pneumo.inference.errors_by_group import Rate, false_alarms, false_alarms_by_other_images, missed_lesions
from pneumo.reporting.html.page import Block, Cell, Column, Prose, Section, Table
from pneumo.reporting.html.words import percent
from pneumo.reporting.report.facts import Evidence

DRAINS = (
    "Chest drains and tubes are the known confounder: treated patients have a drain, and a network may learn to see the"
    " drain instead of the air. The data have no label of them, so how many false alarms show one is not known. What"
    " can be counted is whose images they are: an image without a pneumothorax of a patient who has one in another"
    " image was often taken after treatment, with a drain. If false alarms are clearly more frequent there, suspect"
    " drains, or air that the annotation has not; if not, nothing is proved. To know it, look at the false alarms below"
    " and at as many images that were rightly left empty, note which show a drain, and compare the shares."
)


def errors(evidence: Evidence) -> Section:
    """Return the section."""
    histograms, nested = evidence.histograms, evidence.nested
    text = [
        f"{what}: {_words(found)}."
        for what, found in (
            ("Images with a pneumothorax that were left empty", missed_lesions(histograms, nested)),
            ("Images without one that were called positive", false_alarms(histograms, nested)),
        )
        if found is not None
    ]
    text.append("The groups above have both by size of the lesion, sex, age and view, as sensitivity and specificity.")
    blocks: list[Block] = [Prose(paragraphs=[" ".join(text), DRAINS])]
    groups = false_alarms_by_other_images(histograms, nested)
    if groups:
        numbers = ("images", "patients", "false alarms", "share (95 % interval)")
        rows: list[list[Cell]] = [
            [name, one.images, one.patients, one.count, _share(one)] for name, one in groups.items()
        ]
        blocks.append(
            Table(
                caption="Images without a pneumothorax by the other images of their patients",
                columns=[Column(title="patient"), *(Column(title=title, numeric=True) for title in numbers)],
                rows=rows,
            )
        )
    return Section(title="Errors", blocks=blocks)


def _words(found: Rate) -> str:
    return f"{found.count:,} of {found.images:,}, {_share(found)}"


def _share(found: Rate) -> str:
    low, high = found.interval
    return f"{percent(found.share)} ({percent(low)} to {percent(high)})"
