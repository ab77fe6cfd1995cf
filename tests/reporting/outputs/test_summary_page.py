"""The page of a prediction: its order, its bounds, and what it says of files that were not predicted."""

import math
import re
from dataclasses import replace
from html import unescape
from pathlib import Path

import numpy as np
import pytest

from pneumo.dataset.shard_reader import ShardReader
from pneumo.dicom.attributes import AT_DETECTOR
from pneumo.reporting.outputs import summary_page
from pneumo.reporting.outputs.context import OutputContext
from pneumo.reporting.outputs.summary_page import SummaryPage

LISTS = {
    "quarantine.csv": "split,file,image_id,reason,phase,found,expected,action\n"
    "test,in.zip/<script>x</script>.txt,,unknown_format,header,text,a DICOM,leave it out\n",
    "left_out.csv": "split,file,image_id,reason\ntest,knee.dcm,1.2,body part KNEE\n",
}


def write(context: OutputContext, images, tmp_path: Path) -> str:
    output = SummaryPage(tmp_path / "summary.html", context)
    for image in images:
        output.add(image)
    assert not list(tmp_path.iterdir())
    output.close()
    return (tmp_path / "summary.html").read_text(encoding="utf-8")


def titles(text: str) -> list[str]:
    return re.findall(r"<h2[^>]*>([^<]*)</h2>", text)


def described(text: str) -> list[tuple[str, str]]:
    """Return id and probability of each picture, in the page's order."""
    return re.findall(r'alt="Chest X-ray (\S+): [a-z ]+, probability (0\.\d\d)"', text)


def table(text: str, caption: str) -> list[list[str]]:
    body = re.search(rf"<caption[^>]*>{caption}.*?<tbody>(.*?)</tbody>", text, re.DOTALL)
    assert body is not None, caption
    rows = re.findall(r"<tr>(.*?)</tr>", body[1], re.DOTALL)
    cells = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL) for row in rows]
    return [[unescape(cell.replace("<wbr>", "")) for cell in row] for row in cells]


def test_an_area_on_the_detector_is_called_so(predicted, context: OutputContext, tmp_path: Path) -> None:
    rows = len(context.table)
    table = replace(
        context.table,
        row_spacing_mm=np.full(rows, 5.0),
        column_spacing_mm=np.full(rows, 5.0),
        render_notes=np.array([AT_DETECTOR, ""] * rows)[:rows],
    )
    known = replace(context, reader=ShardReader(context.reader.dataset, table))
    images = [predicted(0, 8, 5), predicted(1, 8, 5)]
    at_detector = sum(table.render_notes[image.row] != "" for image in images)
    text = write(known, images, tmp_path)
    assert text.count("40 px (1,000 mm\u00b2 on the detector)") == at_detector == 1
    assert text.count("40 px (1,000 mm\u00b2)") == 1


def test_positive_images_come_first_each_by_probability(predicted, context: OutputContext, tmp_path: Path) -> None:
    images = [predicted(0, 0, 0, 0.6), predicted(1, 9, 9, 0.4), predicted(2, 0, 0, 0.3), predicted(3, 9, 9, 0.7)]
    ids = [images[index].prediction.image_id for index in (3, 1, 0, 2)]
    context.notes[ids[1]].append("no DICOM SEG: why")
    text = write(context, images, tmp_path)
    assert titles(text) == ["Overview", "Positive images", "Images without a mask", "All findings", "Not predicted"]
    assert described(text) == list(zip(ids, ["0.70", "0.40", "0.60", "0.30"], strict=True))
    assert text.count('<path class="prediction"') == 2
    rows = table(text, "Positive images first")
    assert [row[0] for row in rows] == ids
    assert [row[1] for row in rows] == ["yes", "yes", "no", "no"]
    assert [row[3] for row in rows] == ["81", "81", "0", "0"]
    notes = table(text, "What was decided")
    assert [row[0] for row in notes] == ids
    assert [row[0] for row in notes if row[1].endswith("; no DICOM SEG: why")] == [ids[1]]
    assert "Not for clinical use." in text
    assert "Decision rule: the rule." in text
    assert "6 files found" in text
    assert "Every file was predicted." in text


def test_what_readers_must_know_of_the_networks_is_at_the_top(
    predicted, context: OutputContext, tmp_path: Path
) -> None:
    text = write(replace(context, cautions=["Worse than <masks>."]), [predicted(0, 0, 0)], tmp_path)
    assert "Worse than &lt;masks&gt;." in text.partition("<h2")[0]


def test_files_that_were_not_predicted_are_listed_with_the_reason(
    predicted, context: OutputContext, tmp_path: Path
) -> None:
    text = write(replace(context, lists=LISTS), [predicted(0, 0, 0)], tmp_path)
    assert table(text, "Left out by what") == [["knee.dcm", "body part KNEE"]]
    name = "in.zip/<script>x</script>.txt"
    assert table(text, "Could not be read") == [[name, "unknown_format", "text", "leave it out"]]
    assert "<script" not in text


def test_pictures_are_bounded_and_in_pages_with_links(
    predicted, context: OutputContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(summary_page, "MAX_PICTURES", 3)
    monkeypatch.setattr(summary_page, "PER_PAGE", 2)
    monkeypatch.setattr(summary_page, "MAX_ROWS", 4)
    presences = [0.2, 0.9, 0.1, 0.8, 0.5]
    images = [predicted(index, 5, 5, presence) for index, presence in enumerate(presences)]
    text = write(context, [predicted(5, 0, 0, 0.99), *images], tmp_path)
    assert [probability for _, probability in described(text)] == ["0.90", "0.80", "0.50"]
    assert titles(text) == [
        "Overview",
        "Positive images 1 to 2",
        "Positive images 3 to 3",
        "All findings",
        "Not predicted",
    ]
    assert re.findall(r'<p><a href="#([a-z0-9-]+)"', text) == ["positive-images-3-to-3", "positive-images-1-to-2"]
    assert 'id="positive-images-3-to-3"' in text
    assert "2 more images are without a picture here" in text
    assert len(table(text, "Positive images first")) == 4
    assert "2 more images are in findings.csv" in text


def test_without_a_presence_head_the_probability_is_a_pixels(predicted, context: OutputContext, tmp_path: Path) -> None:
    text = write(context, [predicted(0, 5, 5, math.nan)], tmp_path)
    assert [probability for _, probability in described(text)] == ["0.75"]
    assert "the highest one of a pixel" in text


def test_without_an_image_the_page_says_why(context: OutputContext, tmp_path: Path) -> None:
    text = write(replace(context, lists=LISTS, rule=""), [], tmp_path)
    assert titles(text) == ["Overview", "All findings", "Not predicted"]
    assert text.count("No image was predicted.") == 2
    assert table(text, "Left out by what") == [["knee.dcm", "body part KNEE"]]
