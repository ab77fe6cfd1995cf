"""Pictures of the chosen images with both outlines, and what is said where there are none."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from plain_nested import nested_estimate
from report_facts import html_of, make_facts, make_histograms

from pneumo.dataset.shard_reader import ShardReader
from pneumo.dataset.table import SampleTable
from pneumo.inference.evaluation import compute_metrics
from pneumo.inference.histograms import BINS, PredictionHistograms
from pneumo.masks import rle
from pneumo.reporting.html.page import Figures, Heading
from pneumo.reporting.html.pictures import XrayPicture
from pneumo.reporting.report import case_section
from pneumo.reporting.report.case_section import cases
from pneumo.reporting.report.facts import Evidence


@pytest.fixture(scope="module")
def reader(dataset: Path) -> ShardReader:
    return ShardReader(dataset, SampleTable.read(dataset))


def perfect(reader: ShardReader) -> Evidence:
    """Evidence in which each true mask is predicted, and one lesion is not."""
    table, rows = reader.table, reader.table.select("train")
    pixels = table.rows[rows].astype(np.int64) * table.columns[rows]
    inside, outside = np.zeros((2, len(rows), BINS), np.int32)
    inside[:, 250] = table.mask_area[rows]
    missed = int(np.flatnonzero(table.positive[rows])[0])
    inside[missed, 3], inside[missed, 250] = inside[missed, 250], 0
    outside[:, 1] = pixels - table.mask_area[rows]
    histograms = PredictionHistograms(
        image_id=table.image_id[rows], fold=table.fold[rows].astype(np.int16), patient=table.patient[rows],
        positive=table.positive[rows], pixels=pixels, presence_probability=np.full(len(rows), np.nan, np.float32),
        inside=inside, outside=outside,
    )  # fmt: skip
    nested = nested_estimate(histograms)
    masks = {
        str(table.image_id[row]): rle.EMPTY if i == missed else reader.rle(row) for i, row in enumerate(rows.tolist())
    }
    return Evidence(histograms=histograms, nested=nested, metrics=compute_metrics(histograms, nested), masks=masks)


def test_the_kinds_have_their_pictures_with_outlines(reader: ShardReader) -> None:
    evidence = perfect(reader)
    section = cases(make_facts(reader=reader), evidence)
    assert [block.title for block in section.blocks if isinstance(block, Heading)] == [
        *("Best", "Median", "Worst", "False alarms", "Misses"),
    ]
    figures = [figure for block in section.blocks if isinstance(block, Figures) for figure in block.items]
    assert len(figures) == 4 + 4 + 4 + 1
    html = html_of(section)
    assert html.count('class="truth"') == 13
    assert html.count('class="prediction"') == 12, "the missed lesion has none"
    assert "called positive, the largest predicted areas first. There is none." in html
    assert str(figures[-1].caption).startswith(str(evidence.histograms.image_id[evidence.histograms.positive][0]))
    assert "Dice 0.00, lesion" in str(figures[-1].caption)
    assert "predicted" not in str(figures[-1].caption)


@pytest.mark.parametrize(
    ("rows", "columns", "factor"),
    [
        (256, 200, 1),
        (639, 639, 1),
        (640, 480, 2),
        (1024, 1024, 2),
        (1280, 1279, 4),
        (2000, 2559, 4),
        (2560, 2000, 8),
        (4096, 4096, 8),
    ],
)
def test_an_image_is_decoded_no_smaller_than_its_picture(
    reader: ShardReader, monkeypatch: pytest.MonkeyPatch, rows: int, columns: int, factor: int
) -> None:
    factors = []

    def read(_: ShardReader, __: int, by: int = 1) -> np.ndarray:
        factors.append(by)
        return np.zeros((-(-rows // by), -(-columns // by)), np.float32)

    monkeypatch.setattr(case_section, "read_image", read)
    monkeypatch.setattr(SampleTable, "shape", lambda *_: (rows, columns))
    section = cases(make_facts(reader=reader), perfect(reader))
    figures = [figure for block in section.blocks if isinstance(block, Figures) for figure in block.items]
    assert factors == [factor] * len(figures) != []
    for figure in figures:
        assert isinstance(figure.content, XrayPicture)
        # 320 pixels, and a smaller image as it is.
        assert max(figure.content.width, figure.content.height) == min(320, max(rows, columns))


def test_an_image_that_cannot_be_read_is_counted(reader: ShardReader, monkeypatch: pytest.MonkeyPatch) -> None:
    evidence = perfect(reader)
    longer = {image_id: "1 999999" if mask != rle.EMPTY else mask for image_id, mask in evidence.masks.items()}
    html = html_of(cases(make_facts(reader=reader), replace(evidence, masks=longer)))
    assert "12 images could not be read from the dataset: check it with job/verify.py." in html


def test_without_dataset_or_masks_it_says_why() -> None:
    histograms = make_histograms()
    nested = nested_estimate(histograms)
    evidence = Evidence(histograms=histograms, nested=nested, metrics=compute_metrics(histograms, nested), masks={})
    assert "Pictures need the dataset" in html_of(cases(make_facts(), evidence))
    reader = object()
    assert "when all folds are finished" in html_of(cases(make_facts(reader=reader), evidence))
