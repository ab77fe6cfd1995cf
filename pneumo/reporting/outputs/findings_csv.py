"""findings.csv: one row per image; format version 4 (1 had other names, 3 no rle and notes, 2 no attributes either).

image_id                SOPInstanceUID
positive                1 when the mask has a pixel, else 0
presence_probability    of the presence heads, in [0, 1]; empty when no run has one
max_pixel_probability   maximum over the image's pixels, in [0, 1], rounded down to a 256th
mask_area_px            pixels of the mask
mask_area_mm2           square millimeters of the mask; empty when the pixel spacing is unknown or wrong. Where a note
                        says that it is the detector's, the area is larger than in the patient
modality                such as CR, DX; this and the next three are what the header says, empty when it does not
body_part               CHEST, or another
view                    such as PA, AP
presentation_intent     FOR PRESENTATION or FOR PROCESSING
rle                     the mask's run lengths, as in predictions.csv; -1 when it is empty
notes                   what was decided when the image was read, such as "first of 4 frames", and why it has no DICOM
                        SEG or what of the source is not repeated there; joined by semicolons
"""

import math
from pathlib import Path

from pneumo.inference.ensembler import PredictedImage
from pneumo.reporting.outputs.context import OutputContext
from pneumo.runtime.files import publish_csv

HEADER_COLUMNS = ("modality", "body_part", "view", "presentation_intent")
COLUMNS = (
    "image_id",
    "positive",
    "presence_probability",
    "max_pixel_probability",
    "mask_area_px",
    "mask_area_mm2",
    *HEADER_COLUMNS,
    "rle",
    "notes",
)


class FindingsCsv:
    """Writes the numbers of all images.

    Args:
        path: The CSV to write.
        context: Has the images' pixel spacing, and notes about them.
    """

    def __init__(self, path: Path, context: OutputContext) -> None:
        self._path, self._context = path, context
        self._rows: list[tuple[object, ...]] = []

    def add(self, image: PredictedImage) -> None:
        """Keep the numbers of one image."""
        prediction, table = image.prediction, self._context.table
        self._rows.append(
            (
                prediction.image_id,
                int(prediction.mask_area > 0),
                _number(prediction.presence_probability, 4),
                _number(prediction.max_pixel_probability, 4),
                prediction.mask_area,
                _number(self._context.area_mm2(image), 1),
                *(getattr(table, name)[image.row] for name in HEADER_COLUMNS),
                prediction.rle,
                table.render_notes[image.row],
            )
        )

    def close(self) -> None:
        """Publish the file, with what other outputs noted."""
        notes = self._context.notes
        rows = [
            (image_id, *row, "; ".join([*([str(read)] if read else []), *notes.get(str(image_id), [])]))
            for image_id, *row, read in self._rows
        ]
        publish_csv(self._path, COLUMNS, rows)


def _number(value: float, decimals: int) -> str:
    return "" if math.isnan(value) else f"{value:.{decimals}f}"
