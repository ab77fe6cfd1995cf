"""File names and ids that a spreadsheet would run, or that no terminal shows: job/shard.py passes none of them on."""

import csv
import os
from pathlib import Path

import numpy as np
from command_driver import call

from pneumo.synthetic.dicom_writer import write_dicom

HOSTILE = [
    "=cmd|' calc'!A0",
    "@SUM(1)",
    "+1",
    "-1",
    "a;=1+1",
    "new\nline",
    "\t=tab",
    "\r=return",
    os.fsdecode(b"caf\xe9"),
    "\uff1d1",
]
"""Names of files."""


def test_names_that_a_spreadsheet_would_run_reach_no_csv(tmp_path: Path) -> None:
    source = tmp_path / "with space \u00fc\nnew line" / "dicom"
    source.mkdir(parents=True)
    uid = "1.2.826.0.1.3680043.8.498."
    lines = ["ImageId,EncodedPixels"]
    for number, hostile in enumerate(HOSTILE):
        (source / hostile).write_bytes(b"no DICOM")
        for kind, image_id in (("labeled", f"{uid}{number}"), ("unlabeled", f"{uid}9{number}")):
            write_dicom(
                source / f"{hostile}-{kind}", np.full((32, 32), number, np.uint8),
                image_id=image_id, patient_id=f"p{number}", view="PA", sex="F", age=50, spacing_mm=0.2,
                syntax="jpeg", photometric="MONOCHROME2",
            )  # fmt: skip
        lines.append(f"{uid}{number},-1")
    write_dicom(
        source / "formula", np.zeros((32, 32), np.uint8),
        image_id="=1+1", patient_id="p", view="PA", sex="F", age=50, spacing_mm=0.2,
        syntax="jpeg", photometric="MONOCHROME2",
    )  # fmt: skip
    (tmp_path / "masks.csv").write_text("\n".join([*lines, "1.2.3,-1"]) + "\n")
    out = source.parent / os.fsdecode(b"data set \xff")
    words = ["--dicom", source, "--masks", tmp_path / "masks.csv", "--out", out, "--num-folds", 2]
    code, output, errors = call("shard", [*map(str, words), "--max-quarantined", "50"])
    assert code == 0, errors
    count = len(HOSTILE)
    assert (
        f"{3 * count + 1} files found = {count} samples + {count + 1} quarantined + 0 left out + {count} unlabeled"
        in output
    )
    rows = {file: list(csv.reader((out / file).open(newline=""))) for file in ("quarantine.csv", "unmatched.csv")}
    assert {file: len(found) for file, found in rows.items()} == {
        "quarantine.csv": count + 2,
        "unmatched.csv": count + 2,
    }
    cells = [cell for found in rows.values() for row in found for cell in row]
    assert not [cell for cell in cells if cell[:1] in tuple("=+-@\t\r\uff1d")]
    assert all(cell.isprintable() for cell in cells)
    assert "'=cmd|' calc'!A0" in cells
    assert r"new\nline" in cells
