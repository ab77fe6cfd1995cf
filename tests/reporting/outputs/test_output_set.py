"""The chosen outputs together: one that fails, and results of an earlier prediction."""

import logging
import os
from pathlib import Path

import pytest

from pneumo.masks import submission
from pneumo.reporting.outputs import registry
from pneumo.reporting.outputs.context import OutputContext
from pneumo.reporting.outputs.output_set import OutputSet
from pneumo.runtime.errors import UserError


def test_each_chosen_output_gets_each_image(predicted, context: OutputContext, tmp_path: Path) -> None:
    outputs = OutputSet(tmp_path, ["findings", "overlays"], context)
    for index in range(3):
        outputs.add(predicted(index, index, 2))
    outputs.close()
    assert {p.name for p in tmp_path.iterdir()} == {"findings.csv", "overlays"}
    assert len(list((tmp_path / "overlays").iterdir())) == 2
    assert len((tmp_path / "findings.csv").read_text().splitlines()) == 1 + 3


@pytest.mark.parametrize("failing", ["add", "close"])
def test_a_failing_output_is_named_and_the_others_are_written(
    predicted, context: OutputContext, tmp_path: Path, failing: str, monkeypatch: pytest.MonkeyPatch, caplog
) -> None:
    calls = []

    class OnFullDisk:
        def __init__(self, path: Path, context: OutputContext) -> None: ...

        def _call(self, method: str) -> None:
            calls.append(method)
            if method == failing:
                raise OSError(28, os.strerror(28))

        def add(self, image: object) -> None:
            self._call("add")

        def close(self) -> None:
            self._call("close")

    monkeypatch.setattr("pneumo.reporting.outputs.overlay_pictures.OverlayPictures", OnFullDisk)
    outputs = OutputSet(tmp_path, ["overlays", "predictions"], context)
    images = [predicted(0, 3, 3), predicted(1, 0, 0)]
    with caplog.at_level(logging.ERROR), pytest.raises(OSError, match="No space left on device"):
        for image in images:
            outputs.add(image)
        outputs.close()
        outputs.raise_first_error()
    assert calls == (["add"] if failing == "add" else ["add", "add", "close"])
    assert list(submission.read(tmp_path / "predictions.csv")) == [image.prediction.image_id for image in images]
    (message,) = caplog.messages
    assert message.startswith("overlays is incomplete (OSError: [Errno 28] No space left on device); the other outputs")


def test_results_of_an_earlier_prediction_that_would_be_left_are_refused(tmp_path: Path) -> None:
    registry.check_directory(tmp_path, ["findings"])
    (tmp_path / "findings.csv").touch()
    (tmp_path / "quarantine.csv").touch()
    registry.check_directory(tmp_path, ["findings"])
    (tmp_path / "predictions.csv").touch()
    (tmp_path / "overlays").mkdir()
    registry.check_directory(tmp_path, list(registry.OUTPUTS))
    with pytest.raises(UserError, match=r"has predictions\.csv, overlays of an earlier prediction, and --out"):
        registry.check_directory(tmp_path, ["findings"])
