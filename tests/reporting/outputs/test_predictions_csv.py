from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pneumo.masks import rle, submission
from pneumo.reporting.outputs.context import OutputContext
from pneumo.reporting.outputs.predictions_csv import PredictionsCsv
from pneumo.runtime.errors import UserError


def test_one_row_for_each_image_in_the_order_of_prediction(predicted, context: OutputContext, tmp_path: Path) -> None:
    output = PredictionsCsv(tmp_path / "predictions.csv", context)
    images = [predicted(2, 4, 5), predicted(0, 0, 0), predicted(1, 30, 1)]
    for image in images:
        output.add(image)
    assert not list(tmp_path.iterdir())
    output.close()
    masks = submission.read(tmp_path / "predictions.csv")
    assert list(masks) == [image.prediction.image_id for image in images]
    for image in images:
        decoded = rle.decode(masks[image.prediction.image_id], *image.mask.shape)
        assert np.array_equal(decoded, image.mask)
    assert masks[images[1].prediction.image_id] == rle.EMPTY


@pytest.mark.parametrize("text", ["1 100000000", "5 1 0 1", "x"])
def test_a_wrong_mask_is_refused_like_a_submissions(
    predicted, context: OutputContext, tmp_path: Path, text: str
) -> None:
    output = PredictionsCsv(tmp_path / "predictions.csv", context)
    image = predicted(0, 2, 2)
    output.add(replace(image, prediction=replace(image.prediction, rle=text)))
    with pytest.raises(UserError, match=r"mask of image .* is wrong"):
        output.close()
    assert not list(tmp_path.iterdir())
