"""The submission of an ensemble whose predictions are known."""

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from pneumo.dataset.shard_reader import ShardReader
from pneumo.distributed.world import World
from pneumo.inference import submit
from pneumo.inference.decision_rule import DecisionRule
from pneumo.inference.ensembler import ImagePrediction
from pneumo.inference.submit import write_submission
from pneumo.masks import submission
from pneumo.runtime.errors import UserError


class Known:
    """Predicts one pixel in every second image."""

    def __init__(self, reader: ShardReader, world: World) -> None:
        self.mean = SimpleNamespace(reader=reader, world=world, workers=1)
        self.rule = DecisionRule(128, 0.0, 128)
        self.asked: list[int] = []

    def run(self, rows: np.ndarray) -> list[ImagePrediction]:
        self.asked = rows.tolist()
        return [
            ImagePrediction(
                image_id=str(self.mean.reader.table.image_id[row]),
                rle="5 1" if i % 2 == 0 else "-1",
                presence_probability=0.5,
                mask_area=(i + 1) % 2,
                max_pixel_probability=0.5,
            )
            for i, row in enumerate(self.asked)
        ]


@pytest.fixture
def ensembler(reader: ShardReader, world: World) -> Any:
    return Known(reader, world)


def test_every_test_image_has_a_row_in_the_tables_order(ensembler: Any, tmp_path: Path) -> None:
    write_submission(ensembler, tmp_path / "s.csv")
    table = ensembler.mean.reader.table
    rows = table.select("test")
    assert ensembler.asked == rows.tolist()
    masks = submission.read(tmp_path / "s.csv")
    assert list(masks) == table.image_id[rows].tolist()
    assert list(masks.values()) == ["5 1", "-1"] * 3


def test_expected_ids_give_the_order_and_the_rest(
    ensembler: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ids = ensembler.mean.reader.table.image_id[ensembler.mean.reader.table.select("test")].tolist()
    expected = [ids[2], "1.2.3.4", ids[0]]
    (tmp_path / "sample.csv").write_text("ImageId,EncodedPixels\n" + "".join(f"{i},-1\n" for i in expected))
    with caplog.at_level(logging.WARNING):
        write_submission(ensembler, tmp_path / "s.csv", expected=tmp_path / "sample.csv")
    assert list(submission.read(tmp_path / "s.csv").items()) == [(ids[2], "5 1"), ("1.2.3.4", "-1"), (ids[0], "5 1")]
    assert [record.getMessage() for record in caplog.records] == [
        "expected ids that have no image and get an empty mask: 1 (1.2.3.4)",
        "not expected and left out of the submission: 4 test images",
    ]


def test_damaged_images_get_an_empty_mask_and_are_not_predicted(
    ensembler: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    rows = ensembler.mean.reader.table.select("test")
    found = {int(rows[0]): "image x is torn"}
    monkeypatch.setattr(submit, "find_damaged", lambda *_, **__: found)
    with caplog.at_level(logging.WARNING):
        write_submission(ensembler, tmp_path / "s.csv", skip_damaged=True)
    assert ensembler.asked == rows[1:].tolist()
    masks = submission.read(tmp_path / "s.csv")
    assert len(masks) == 6
    assert masks[str(ensembler.mean.reader.table.image_id[rows[0]])] == "-1"
    assert caplog.messages == ["damaged test image, NOT predicted, gets an empty mask: image x is torn"]


def test_a_dataset_of_damaged_images_alone_is_refused(
    ensembler: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {int(row): "torn" for row in ensembler.mean.reader.table.select("test")}
    monkeypatch.setattr(submit, "find_damaged", lambda *_, **__: found)
    with pytest.raises(UserError, match="none of 6 test images can be used, first: torn"):
        write_submission(ensembler, tmp_path / "s.csv", skip_damaged=True)
    assert not (tmp_path / "s.csv").exists()


def test_without_test_images_there_is_no_submission(ensembler: Any, tmp_path: Path) -> None:
    reader = ensembler.mean.reader
    empty = SimpleNamespace(dataset=reader.dataset, table=SimpleNamespace(select=lambda _: np.zeros(0, np.int64)))
    ensembler.mean.reader = empty
    with pytest.raises(UserError, match="has no test images; expected test images; build a dataset with"):
        write_submission(ensembler, tmp_path / "s.csv")


def test_what_a_killed_process_left_of_the_submission_alone_is_removed(ensembler: Any, tmp_path: Path) -> None:
    for name in (".s.csv.pneumo-tmp-abcdefgh", ".other.csv.pneumo-tmp-abcdefgh", "s.csv.bak"):
        (tmp_path / name).touch()
    write_submission(ensembler, tmp_path / "s.csv")
    assert {p.name for p in tmp_path.iterdir()} == {"s.csv", ".other.csv.pneumo-tmp-abcdefgh", "s.csv.bak"}
