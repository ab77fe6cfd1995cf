"""summary.html: what was found, with pictures to page through; positive images and high probabilities first.

The page has no script: its pictures are in pages of ``PER_PAGE``, each a section with links to those beside it. A
thousand pictures would be too heavy for a phone or a mail: ``MAX_PICTURES`` are shown, and what is left out is said.
"""

import csv
import heapq
import io
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from markupsafe import Markup, escape

from pneumo import __version__
from pneumo.dataset import paths
from pneumo.inference.ensembler import ImagePrediction, PredictedImage
from pneumo.reporting.html import page, pictures
from pneumo.reporting.html.page import Block, Column, Facts, Figure, Figures, Notice, Page, Prose, Section, Table
from pneumo.reporting.html.pictures import XrayPicture
from pneumo.reporting.outputs.context import OutputContext
from pneumo.runtime.errors import counted

GENERATOR = "pneumo predict"
MAX_PICTURES = 240
"""Pictures at most: 3 to 6 MB."""
PER_PAGE = 24
MAX_ROWS = 2000
"""Rows of a table at most."""


@dataclass(frozen=True, kw_only=True)
class _Finding:
    """What the page says of one image."""

    prediction: ImagePrediction
    area_mm2: float
    at_detector: bool
    """Whether this area is the one on the detector."""
    view: str
    modality: str
    notes: str

    @property
    def positive(self) -> bool:
        return self.prediction.mask_area > 0

    @property
    def probability(self) -> float:
        """Of presence; of a run without a presence head the highest of a pixel."""
        presence = self.prediction.presence_probability
        return self.prediction.max_pixel_probability if math.isnan(presence) else presence

    @property
    def rank(self) -> tuple[bool, float]:
        return self.positive, self.probability

    @property
    def area(self) -> str:
        pixels = f"{self.prediction.mask_area:,} px"
        where = " on the detector" if self.at_detector else ""
        return pixels if math.isnan(self.area_mm2) else f"{pixels} ({self.area_mm2:,.0f} mm\u00b2{where})"


@dataclass(order=True)
class _Shown:
    """A picture with its place in the order; the earlier of two equal images first."""

    rank: tuple[bool, float]
    order: int
    finding: _Finding = field(compare=False)
    picture: XrayPicture = field(compare=False)


class SummaryPage:
    """Keeps numbers of all images and small pictures of the most probable ones, and writes the page at the end.

    Args:
        path: The page.
        context: What is predicted.
    """

    def __init__(self, path: Path, context: OutputContext) -> None:
        self._path, self._context = path, context
        self._findings: list[_Finding] = []
        self._shown: list[_Shown] = []

    def add(self, image: PredictedImage) -> None:
        """Keep one image, with its picture if it is among the first ones so far."""
        table = self._context.table
        finding = _Finding(
            prediction=image.prediction,
            area_mm2=self._context.area_mm2(image),
            at_detector=self._context.is_at_detector(image),
            view=str(table.view[image.row]),
            modality=str(table.modality[image.row]),
            notes=str(table.render_notes[image.row]),
        )
        self._findings.append(finding)
        full = len(self._shown) >= MAX_PICTURES
        if full and finding.rank <= self._shown[0].rank:
            return
        shown = _Shown(finding.rank, -len(self._findings), finding, _draw(image, finding))
        (heapq.heappushpop if full else heapq.heappush)(self._shown, shown)

    def close(self) -> None:
        """Write the page."""
        page.write(self._path, self._make())

    def _make(self) -> Page:
        shown = sorted(self._shown, reverse=True)
        findings = sorted(self._findings, key=lambda finding: finding.rank, reverse=True)
        positive = sum(finding.positive for finding in findings)
        return Page(
            generator=GENERATOR,
            title="Pneumothorax: predictions",
            lead=f"{counted(len(findings), 'chest X-ray')} predicted by {self._context.model}: "
            f"{positive} with a predicted pneumothorax, {len(findings) - positive} without.",
            notices=list(self._notices()),
            sections=[
                self._overview(findings, positive),
                *_gallery("Positive images", [one for one in shown if one.finding.positive], positive),
                *_gallery(
                    "Images without a mask",
                    [one for one in shown if not one.finding.positive],
                    len(findings) - positive,
                ),
                self._table(findings),
                self._not_predicted(),
            ],
            footer=[f"pneumo {__version__}, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC", self._context.account],
        )

    def _notices(self) -> Iterator[Notice]:
        text = "Not for clinical use. A network has drawn these outlines; nobody has checked them. It misses"
        yield Notice(kind="Warning", text=f"{text} pneumothoraces, and finds some where there are none.")
        for caution in self._context.cautions:
            yield Notice(kind="Warning", text=caution)

    def _overview(self, findings: Sequence[_Finding], positive: int) -> Section:
        lists = {name: len(_rows(self._context.lists[name])) for name in paths.PREDICTION_LISTS}
        facts = [
            (positive, "images with a predicted pneumothorax"),
            (len(findings) - positive, "images without"),
            (lists[paths.LEFT_OUT], "images left out: no frontal chest X-rays by their header, or masks"),
            (lists[paths.QUARANTINE], "files that could not be read"),
        ]
        has_presence = any(not math.isnan(finding.prediction.presence_probability) for finding in findings)
        probability = (
            "The probability is the network's that the image has a pneumothorax."
            if has_presence
            else "The probability is the highest one of a pixel, since these networks give none for the image."
        )
        rule = (
            f"Decision rule: {self._context.rule}. An image that does not meet it has no mask, at any probability."
            if self._context.rule
            else "No image was predicted."
        )
        outlines = (
            "A dashed outline is the predicted pneumothorax. Areas in mm\u00b2 need the pixel spacing of the file; "
            "where it is that of the detector, the notes say so, and the area is larger than in the patient."
        )
        return Section(title="Overview", blocks=[Facts(items=facts), Prose(paragraphs=[rule, probability, outlines])])

    def _table(self, findings: Sequence[_Finding]) -> Section:
        columns = [
            Column(title="Image"),
            Column(title="Positive"),
            Column(title="Probability", numeric=True),
            Column(title="Area, px", numeric=True),
            Column(title="Area, mm\u00b2", numeric=True),
            Column(title="View"),
            Column(title="Modality"),
        ]
        rows = [
            [
                finding.prediction.image_id,
                "yes" if finding.positive else "no",
                f"{finding.probability:.2f}",
                finding.prediction.mask_area,
                "" if math.isnan(finding.area_mm2) else f"{finding.area_mm2:,.0f}",
                finding.view,
                finding.modality,
            ]
            for finding in findings[:MAX_ROWS]
        ]
        left = len(findings) - len(rows)
        caption = "Positive images first, each by descending probability." + (
            f" {counted(left, 'more image is', 'more images are')} in findings.csv." if left else ""
        )
        blocks: list[Block] = [Table(caption=caption, columns=columns, rows=rows)] if rows else []
        if notes := [[finding.prediction.image_id, text] for finding in findings if (text := self._notes(finding))]:
            caption = (
                "What was decided when these images were read, and what is missing in a DICOM SEG or why there is none."
                + (
                    f" {counted(len(notes) - MAX_ROWS, 'more is', 'more are')} in findings.csv."
                    if len(notes) > MAX_ROWS
                    else ""
                )
            )
            columns = [Column(title="Image"), Column(title="Notes")]
            blocks.append(Table(caption=caption, columns=columns, rows=notes[:MAX_ROWS]))
        return Section(title="All findings", blocks=blocks or [Prose(paragraphs=["No image was predicted."])])

    def _notes(self, finding: _Finding) -> str:
        read = [finding.notes] if finding.notes else []
        return "; ".join([*read, *self._context.notes.get(finding.prediction.image_id, [])])

    def _not_predicted(self) -> Section:
        left_out, quarantined = (_rows(self._context.lists[name]) for name in (paths.LEFT_OUT, paths.QUARANTINE))
        blocks: list[Block] = []
        if left_out:
            blocks += _list_files(
                left_out, "Left out by what their header says", ("file", "reason"), paths.LEFT_OUT,
            )  # fmt: skip
        if quarantined:
            blocks += _list_files(
                quarantined, "Could not be read", ("file", "reason", "found", "action"), paths.QUARANTINE,
            )  # fmt: skip
        return Section(title="Not predicted", blocks=blocks or [Prose(paragraphs=["Every file was predicted."])])


def _draw(image: PredictedImage, finding: _Finding) -> XrayPicture:
    found = "predicted pneumothorax outlined" if finding.positive else "no pneumothorax predicted"
    description = f"Chest X-ray {finding.prediction.image_id}: {found}, probability {finding.probability:.2f}"
    return pictures.draw(image.source, description, prediction=image.mask if finding.positive else None)


def _gallery(title: str, shown: Sequence[_Shown], total: int) -> Iterator[Section]:
    """Yield pages of pictures, each with links to the one before and the one behind it."""
    pages = [shown[start : start + PER_PAGE] for start in range(0, len(shown), PER_PAGE)]
    starts = itertools.accumulate([len(one) for one in pages], initial=1)
    titles = [
        title if len(pages) == 1 else f"{title} {start} to {start + len(one) - 1}"
        for start, one in zip(starts, pages, strict=False)
    ]
    left = total - len(shown)
    for number, one in enumerate(pages):
        blocks: list[Block] = [Figures(items=[_figure(item) for item in one], size="small")]
        links = [
            page.link(f"{word}: {titles[other]}", f"#{page.anchor_of(titles[other])}")
            for word, other in (("Previous", number - 1), ("Next", number + 1))
            if 0 <= other < len(pages)
        ]
        if links:
            blocks.append(Prose(paragraphs=[Markup(" \u00b7 ").join(links)]))
        if left and number == len(pages) - 1:
            more = counted(left, "more image is", "more images are")
            blocks.append(Prose(paragraphs=[f"{more} without a picture here; overlays/ may have them."]))
        yield Section(title=titles[number], blocks=blocks)


def _figure(shown: _Shown) -> Figure:
    finding = shown.finding
    found = finding.area if finding.positive else "no mask"
    view = f", {finding.view}" if finding.view else ""
    caption = Markup("Probability <strong>{:.2f}</strong>; {}{}<br>{}").format(
        finding.probability, found, view, _breakable(finding.prediction.image_id, ".")
    )
    return Figure(content=shown.picture, caption=caption)


def _list_files(rows: Sequence[Mapping[str, str]], what: str, names: Sequence[str], file: str) -> list[Block]:
    left = len(rows) - MAX_ROWS
    caption = f"{what}: {counted(len(rows), 'file')}." + (f" {left} more are in {file}." if left > 0 else "")
    titles = {"file": "File", "reason": "Reason", "found": "Found", "action": "What to do"}
    cells = [
        [_breakable(row[name], "/.") if name == "file" else row[name] for name in names] for row in rows[:MAX_ROWS]
    ]
    return [Table(caption=caption, columns=[Column(title=titles[name]) for name in names], rows=cells)]


def _rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def _breakable(text: str, at: str) -> Markup:
    """Return a long name that may be broken behind some characters."""
    return Markup("").join(escape(one) + (Markup("<wbr>") if one in at else "") for one in text)
