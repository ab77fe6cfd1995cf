import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from pneumo.dataset.shard_reader import ShardReader
from pneumo.reporting.outputs.overlay_pictures import SIDE, OverlayPictures
from pneumo.reporting.overlays import CAPTION_ROWS, PREDICTION
from pneumo.runtime.errors import UserError


def test_each_positive_image_is_drawn_at_once(predicted, reader: ShardReader, tmp_path: Path) -> None:
    output = OverlayPictures(tmp_path / "overlays", reader)
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


def test_the_picture_shows_the_source_image(predicted, reader: ShardReader, tmp_path: Path) -> None:
    output = OverlayPictures(tmp_path / "overlays", reader)
    image = predicted(2, 1, 1)
    output.add(image)
    output.close()
    (path,) = (tmp_path / "overlays").iterdir()
    drawn = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2GRAY)[CAPTION_ROWS:]
    assert image.mask.shape[0] == image.mask.shape[1]
    expected = cv2.resize(image.source, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR) * 255
    assert np.mean(np.abs(drawn - expected) > 2) < 0.01


def test_a_file_in_place_of_the_directory_is_refused_at_the_start(reader: ShardReader, tmp_path: Path) -> None:
    (tmp_path / "overlays").touch()
    with pytest.raises(UserError, match=r"overlays is not a directory; expected a directory for the pictures; give"):
        OverlayPictures(tmp_path / "overlays", reader)


def test_a_link_in_place_of_the_directory_is_refused_at_the_start(reader: ShardReader, tmp_path: Path) -> None:
    (tmp_path / "overlays").symlink_to(tmp_path)
    with pytest.raises(UserError, match=r"overlays is a link; expected a directory for the pictures; remove it, or"):
        OverlayPictures(tmp_path / "overlays", reader)


def test_pictures_of_an_earlier_prediction_are_removed_when_the_new_ones_are_drawn(
    predicted, reader: ShardReader, tmp_path: Path
) -> None:
    first, second = predicted(0, 5, 5), predicted(1, 5, 5)
    for images in ([first, second], [predicted(0, 0, 0), second]):
        output = OverlayPictures(tmp_path / "overlays", reader)
        before = sorted((tmp_path / "overlays").glob("*"))
        for image in images:
            output.add(image)
        # Nothing is mixed before the end.
        assert sorted((tmp_path / "overlays").glob("*")) == before
        output.close()
        (tmp_path / "overlays" / "notes.txt").touch()
    assert [p.name for p in tmp_path.iterdir()] == ["overlays"]
    assert {p.name for p in (tmp_path / "overlays").iterdir()} == {
        f"{reader.table.wds_key[second.row]}.png",
        "notes.txt",
    }


def test_only_pictures_that_a_prediction_drew_are_removed(predicted, reader: ShardReader, tmp_path: Path) -> None:
    directory, image = tmp_path / "overlays", predicted(0, 5, 5)
    drawn = directory / f"{reader.table.wds_key[image.row]}.png"
    output = OverlayPictures(directory, reader)
    output.add(image)
    output.close()
    (directory / "x.png").mkdir()
    cv2.imwrite(str(directory / "figure-for-paper.png"), cv2.imread(str(drawn)))
    shutil.copy(drawn, directory / "copy.png")
    (directory / "link.png").symlink_to(drawn)
    (directory / "empty.png").touch()
    mine = {"x.png", "figure-for-paper.png", "copy.png", "link.png", "empty.png"}
    assert {p.name for p in directory.iterdir()} == {drawn.name} | mine
    OverlayPictures(directory, reader).close()
    assert {p.name for p in directory.iterdir()} == mine
