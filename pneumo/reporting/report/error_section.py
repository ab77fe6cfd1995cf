"""The section on errors: how many lesions are missed, how many alarms are false, and whether drains may cause them."""

from collections.abc import Mapping, Sequence

from pneumo.inference.errors_by_group import (
    Rate,
    drains_by_outcome,
    false_alarms,
    false_alarms_by_other_images,
    missed_lesions,
    notes_on_others,
)
from pneumo.reporting.html.page import Block, Cell, Column, Prose, Section, Table
from pneumo.reporting.html.words import percent
from pneumo.reporting.report.facts import Evidence
from pneumo.runtime.errors import counted, list_some

NAMED = 5
"""Notes of no image that are named."""
DRAINS = (
    "Chest drains and tubes are the known confounder: treated patients have a drain, and a network may learn to see the"
    " drain instead of the air. The dataset has no label of them. What can be counted is whose images they are: an"
    " image without a pneumothorax of a patient who has one in another image may have been taken after treatment, with"
    " a drain. If false alarms are clearly more frequent there, suspect drains, or air that the annotation has not; if"
    " not, nothing is proved."
)
HOW_TO_NOTE = (
    "How many false alarms show a drain is not known. To know it, look at all false alarms and at as many images, drawn"
    " at random, that were rightly left empty; note in a CSV with the columns ImageId and Drain (yes or no) which show"
    " a drain, and give it to job/report.py --drains."
)
NOTED = (
    "Notes on drains were given: compare the false alarms with the images that were rightly left empty. When clearly"
    " more of the false alarms show a drain, the networks take drains for a pneumothorax. Images have to be noted"
    " whatever they show, and those rightly left empty drawn at random."
)


def errors(evidence: Evidence, drains: Mapping[str, bool]) -> Section:
    """Return the section.

    Args:
        evidence: Out-of-fold predictions and their decisions.
        drains: Whether images show a chest drain, by id, as far as somebody has noted it.
    """
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
    blocks: list[Block] = [Prose(paragraphs=[" ".join(text), DRAINS, NOTED if drains else HOW_TO_NOTE])]
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
    return Section(title="Errors", blocks=[*blocks, *_by_drain(evidence, drains)])


def _by_drain(evidence: Evidence, drains: Mapping[str, bool]) -> list[Block]:
    """Return the notes that are of no scored image, and the table of the others; nothing when there are no notes."""
    if not drains:
        return []
    blocks: list[Block] = []
    if others := notes_on_others(evidence.histograms, drains):
        # Not named: whatever stood in that column of the user's file would get on the page.
        text = f"{counted(len(others), 'note')} on drains of no image that is scored: not counted here."
        blocks.append(Prose(paragraphs=[text]))
    found = drains_by_outcome(evidence.histograms, evidence.nested, drains)
    numbers = ("images", "patients", "with a drain", "share (95 % interval)")
    rows: list[list[Cell]] = [[name, one.images, one.patients, one.count, _share(one)] for name, one in found.items()]
    if not rows:
        return blocks
    table = Table(
        caption="Images with a note on drains, by how they were decided",
        columns=[Column(title="image"), *(Column(title=title, numeric=True) for title in numbers)],
        rows=rows,
    )
    return [*blocks, table]


def describe_others(image_ids: Sequence[str]) -> str:
    """Say how many notes on drains are of no image that is scored, and of which."""
    return f"Notes on drains of no image that is scored: {list_some(image_ids, NAMED)}"


def _words(found: Rate) -> str:
    return f"{found.count:,} of {found.images:,}, {_share(found)}"


def _share(found: Rate) -> str:
    low, high = found.interval
    return f"{percent(found.share)} ({percent(low)} to {percent(high)})"
