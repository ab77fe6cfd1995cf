import csv
from dataclasses import replace
from pathlib import Path

import numpy as np

from pneumo.dataset.shard_reader import ShardReader
from pneumo.reporting.outputs.context import OutputContext
from pneumo.reporting.outputs.findings_csv import FindingsCsv


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_one_row_for_each_image(predicted, reader: ShardReader, context: OutputContext, tmp_path: Path) -> None:
    table = reader.table
    rows = table.select("test")
    row_spacing, column_spacing = table.row_spacing_mm.copy(), table.column_spacing_mm.copy()
    row_spacing[rows[0]], column_spacing[rows[0]] = 5.0, 2.5
    row_spacing[rows[1]] = np.nan
    row_spacing[rows[2]], column_spacing[rows[2]] = 5.0, 2.5
    known = ShardReader(reader.dataset, replace(table, row_spacing_mm=row_spacing, column_spacing_mm=column_spacing))
    output = FindingsCsv(tmp_path / "findings.csv", replace(context, reader=known))
    images = [predicted(0, 10, 7), predicted(1, 3, 3, presence=float("nan")), predicted(2, 0, 0, presence=1 / 3)]
    for image in images:
        output.add(image)
    assert not list(tmp_path.iterdir())
    # Another output's, after this one has the image.
    context.notes[images[1].prediction.image_id] += ["no DICOM SEG", "nor anything else"]
    output.close()
    assert [p.name for p in tmp_path.iterdir()] == ["findings.csv"]
    found = read(tmp_path / "findings.csv")
    assert [row["image_id"] for row in found] == table.image_id[rows[:3]].tolist()
    assert list(found[0].items())[1:] == [
        ("positive", "1"),
        ("presence_probability", "0.2500"),
        ("max_pixel_probability", "0.7500"),
        ("mask_area_px", "70"),
        ("mask_area_mm2", f"{70 * 5 * 2.5:.1f}"),
        *(("modality", "CR"), ("body_part", "CHEST"), ("view", table.view[rows[0]]), ("presentation_intent", "")),
        ("rle", images[0].prediction.rle),
        ("notes", table.render_notes[rows[0]]),
    ]
    assert found[1]["notes"] == f"{table.render_notes[rows[1]]}; no DICOM SEG; nor anything else"
    assert found[2]["rle"] == "-1"
    assert (found[1]["presence_probability"], found[1]["mask_area_px"], found[1]["mask_area_mm2"]) == ("", "9", "")
    assert (found[2]["positive"], found[2]["presence_probability"]) == ("0", "0.3333")
    assert found[2]["max_pixel_probability"] == "0.1250"
    assert (found[2]["mask_area_px"], found[2]["mask_area_mm2"]) == ("0", "0.0")


def test_no_image_leaves_the_header(context: OutputContext, tmp_path: Path) -> None:
    FindingsCsv(tmp_path / "findings.csv", context).close()
    text = (tmp_path / "findings.csv").read_bytes()
    expected = b"image_id,positive,presence_probability,max_pixel_probability,mask_area_px,mask_area_mm2"
    expected += b",modality,body_part,view,presentation_intent,rle,notes\n"
    assert text == expected
