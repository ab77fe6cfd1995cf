"""Small tables and analyses of made-up images, without a shard."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from pneumo.dataset.manifest import Manifest
from pneumo.dataset.table import SampleTable
from pneumo.reporting.explore import duplicates, folds, patients, shortcuts
from pneumo.reporting.explore.analysis import Analysis
from pneumo.reporting.explore.duplicates import Duplicates
from pneumo.reporting.explore.lesions import Lesions, measure
from pneumo.reporting.explore.scan import ScannedImage

ROW: dict[str, Any] = {
    **{"split": "train", "fold": 0, "patient": -1, "rows": 100, "columns": 100, "row_spacing_mm": 3.5},
    **{"column_spacing_mm": 3.5, "modality": "CR", "body_part": "CHEST", "view": "PA", "presentation_intent": ""},
    **{"sex": "F", "age_years": 50, "transfer_syntax": "1.2.840.10008.1.2.4.50", "was_monochrome1": False},
    **{"positive": False, "mask_area": 0, "shard": "train-000000.tar", "image_format": "jpg", "offset": 512},
    **{"bytes": 1, "rle_offset": 0, "rle_bytes": 2, "json_bytes": 2, "rle_sha256": "", "json_sha256": ""},
    **{"render_notes": "", "low_level": 0.1, "high_level": 0.9, "mask_note": ""},
}


def make_table(number: int, **columns: Sequence[Any] | Any) -> SampleTable:
    """A table of ``number`` images; a column is one value for all, or one for each."""
    rows = []
    for i in range(number):
        row = ROW | {"image_id": f"image.{i}", "wds_key": f"image-{i}", "sha256": f"{i:064x}"}
        for name, values in columns.items():
            row[name] = values if isinstance(values, str | int | float) else values[i]
        rows.append(row)
    return SampleTable.from_rows(rows)


def square(x: float = 0.3, y: float = 0.3, side: float = 0.1) -> Lesions:
    """The lesions of a mask with one square about a center, in shares of an image of 100 x 100 pixels."""
    mask = np.zeros((100, 100), np.uint8)
    half = side / 2
    mask[round(100 * (y - half)) : round(100 * (y + half)), round(100 * (x - half)) : round(100 * (x + half))] = 1
    return measure(mask)


def make_analysis(
    table: SampleTable,
    scanned: Sequence[ScannedImage] | None = None,
    pairs: Sequence[duplicates.Pair] = (),
    **manifest: Any,
) -> Analysis:
    """An analysis of a table; positive images have a square, a little further to the right each time."""
    if scanned is None:
        scanned = [
            ScannedImage(lesions=square(x=0.25 + 0.5 * (row % 2), y=0.2 + 0.3 * row / len(table)) if positive else None)
            for row, positive in enumerate(table.positive)
        ]
    train = len(table.select("train"))
    counts = {
        **{"found": len(table), "samples": len(table), "train": train, "test": len(table) - train, "quarantined": 0},
        **{"positive": int(table.positive.sum()), "left_out": 0, "unlabeled": 0, "merged_duplicates": 0, "missing": 0},
        **{"renamed": 0, "shards": 1, "patients": 1, "num_folds": 2, "fold_seed": 0, "grouped_by": "patients csv"},
        **{"id_source": "uid", "digest": "d" * 64, "folds_digest": "f" * 64, "samples_digest": "s" * 64},
    }
    return Analysis(
        name="made up",
        manifest=Manifest(**(counts | manifest)),
        table=table,
        scanned=scanned,
        duplicates=Duplicates(pairs=pairs, limit=40),
        patients=patients.count(table),
        groupings=shortcuts.find(table),
        folds=folds.summarize(table),
        quarantined=Counter(),
        left_out=Counter(),
        oddities=[],
    )
