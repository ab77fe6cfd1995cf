"""The page of job/explore.py: all sections in their order."""

import datetime

from markupsafe import Markup

from pneumo import __version__
from pneumo.dataset.shard_reader import ShardReader
from pneumo.reporting.explore import cautions, clinical, data_sections, lesion_sections
from pneumo.reporting.explore.analysis import Analysis
from pneumo.reporting.explore.cautions import Caution
from pneumo.reporting.explore.duplicate_section import duplicates
from pneumo.reporting.html.page import Block, Notice, Page, Prose, Section, Text
from pneumo.runtime.errors import counted

GENERATOR = "pneumo explore"


def build(analysis: Analysis, reader: ShardReader, *, pictures: int, seed: int, today: datetime.date) -> Page:
    """Return the page.

    Args:
        analysis: What is known of the dataset.
        reader: Reads the images that are shown.
        pictures: Images of each contact sheet.
        seed: Seed of the choice of images without a pneumothorax.
        today: The date in the footer.
    """
    manifest = analysis.manifest
    lead = (
        f"{counted(len(analysis.train), 'labeled chest X-ray')}, {int(analysis.table.positive.sum()):,} with a "
        f"pneumothorax, and {counted(manifest.test, 'test image')}: what is in the dataset, and what to know before "
        f"training on it."
    )
    private = (
        "This page contains X-rays of patients with their ids, sexes and ages. Show and store it only where the "
        "dataset itself may be shown and stored."
    )
    versions = (
        f"pneumo {__version__}, job/explore.py, {today.isoformat()}. Dataset built by pneumo {manifest.pneumo_version}"
    )
    return Page(
        generator=GENERATOR,
        title=f"Dataset: {analysis.name}",
        lead=lead,
        notices=[Notice(kind="Warning", text=private)],
        sections=[
            warnings(analysis),
            clinical.pneumothorax(lesion_sections.examples(analysis, reader)),
            clinical.labels(),
            data_sections.counts(analysis),
            data_sections.groups(analysis),
            lesion_sections.lesions(analysis, reader),
            *lesion_sections.sheets(analysis, reader, pictures, seed),
            duplicates(analysis, reader),
            data_sections.folds(analysis),
            data_sections.missing(analysis),
            clinical.references(),
        ],
        footer=[
            f"{versions}, {manifest.samples:,} samples in {counted(manifest.shards, 'shard')}, table SHA-256 "
            f"{manifest.samples_digest[:16]}, folds SHA-256 {manifest.folds_digest[:16]}.",
            "Not for clinical use.",
        ],
    )


def warnings(analysis: Analysis) -> Section:
    """Return the section that says what to know first."""
    found = cautions.find(analysis)
    blocks: list[Block] = [Notice(kind="Warning", text=_text(one)) for one in found]
    if not found:
        blocks = [Notice(kind="Good", text="Nothing in this dataset calls for a warning.")]
    intro = (
        "Looked for: missing labels, damaged samples, patients and duplicates across folds and splits, attributes that "
        "tell the label, masks in unusual places, uneven folds, implausible ages, and files that are missing."
    )
    return Section(title="Warnings", blocks=[*blocks, Prose(paragraphs=[intro])])


def _text(caution: Caution) -> Text:
    """Return a caution with a link to the section that shows it."""
    text = Markup("{} {}").format(caution.found, caution.action)
    if not caution.see:
        return text
    anchor = Section(title=caution.see, blocks=[]).anchor
    return text + Markup(' See <a href="#{}">{}</a>.').format(anchor, caution.see)
