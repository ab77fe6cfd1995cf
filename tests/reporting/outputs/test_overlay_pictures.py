import math
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from pneumo.dataset.shard_reader import ShardReader
from pneumo.dicom.attributes import AT_DETECTOR
from pneumo.reporting import overlays
from pneumo.reporting.outputs.context import OutputContext
from pneumo.reporting.outputs.overlay_pictures import SIDE, OverlayPictures
from pneumo.reporting.overlays import CAPTION_ROWS, PREDICTION, Panel


def test_each_positive_image_is_drawn_at_once(
    predicted, reader: ShardReader, context: OutputContext, tmp_path: Path
) -> None:
    output = OverlayPictures(tmp_path / "overlays", context)
    output.add(predicted(0, 0, 0))
    assert not list(tmp_path.iterdir())
    image = predicted(1, 40, 30)
    output.add(image)
    output.close()
    (path,) = (tmp_path / "overlays").iterdir()
    assert path.name == f"{reader.table.wds_key[image.row]}.png"
    picture = cv2.imread(str(path))
    assert picture.shape == (SIDE + CAPTION_ROWS, SIDE, 3)
    places = np.argwhere(np.abs(picture.astype(int) - PREDICTION).max(axis=2) < 40) - [CAPTION_ROWS, 0]
    scale = SIDE / max(image.mask.shape)
    assert np.abs(places.min(axis=0) - np.array([20, 30]) * scale).max() <= 3 + scale
    assert np.abs(places.max(axis=0) - np.array([60, 60]) * scale).max() <= 3 + scale


def test_every_image_is_drawn_when_asked_for(predicted, context: OutputContext, tmp_path: Path) -> None:
    output = OverlayPictures(tmp_path / "overlays", replace(context, all_overlays=True))
    output.add(predicted(0, 0, 0))
    output.add(predicted(1, 4, 4))
    output.close()
    assert len(list((tmp_path / "overlays").iterdir())) == 2


def test_the_picture_shows_the_source_image(predicted, context: OutputContext, tmp_path: Path) -> None:
    output = OverlayPictures(tmp_path / "overlays", context)
    image = predicted(2, 1, 1)
    output.add(image)
    output.close()
    (path,) = (tmp_path / "overlays").iterdir()
    drawn = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2GRAY)[CAPTION_ROWS:]
    assert image.mask.shape[0] == image.mask.shape[1]
    expected = cv2.resize(image.source, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR) * 255
    assert np.mean(np.abs(drawn - expected) > 2) < 0.01


@pytest.mark.parametrize(
    ("height", "presence", "spacing", "notes", "expected"),
    [
        (10, 0.25, 5.0, "first of 2 frames", "pneumothorax predicted, 70 px = 1750 mm2; presence probability 0.25"),
        (
            *(10, 0.25, 5.0, f"first of 2 frames; {AT_DETECTOR}"),
            "pneumothorax predicted, 70 px = 1750 mm2 on the detector; presence probability 0.25",
        ),
        (10, 0.25, 0.5, "", "pneumothorax predicted, 70 px; presence probability 0.25"),
        (10, math.nan, math.nan, "", "pneumothorax predicted, 70 px; highest pixel probability 0.75"),
        (0, 0.25, 5.0, AT_DETECTOR, "no pneumothorax predicted; presence probability 0.25"),
    ],
)
def test_the_caption_has_probability_and_area(
    predicted, context: OutputContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    height: int, presence: float, spacing: float, notes: str, expected: str,
) -> None:  # fmt: skip
    panels: list[Panel] = []
    monkeypatch.setattr(overlays, "draw", lambda panel, side: panels.append(panel) or np.zeros((2, 2, 3), np.uint8))
    table = context.table
    known = replace(
        table,
        row_spacing_mm=np.full(len(table), spacing),
        column_spacing_mm=np.full(len(table), spacing),
        render_notes=np.full(len(table), notes),
    )
    reader = ShardReader(context.reader.dataset, known)
    output = OverlayPictures(tmp_path / "overlays", replace(context, reader=reader, all_overlays=True))
    output.add(predicted(0, height, 7, presence))
    assert panels[0].caption == f"{expected}; not for clinical use"
