"""A PNG for each image, empty or not."""

from pathlib import Path

import cv2
import numpy as np

from pneumo.reporting.outputs.context import OutputContext
from pneumo.reporting.outputs.registry import OUTPUTS


def test_each_mask_is_written_at_once_at_the_size_of_its_image(
    predicted, context: OutputContext, tmp_path: Path
) -> None:
    entry = OUTPUTS["masks"]
    output = entry.make(tmp_path, context)
    for image in (predicted(0, 40, 30), predicted(1, 0, 0)):
        output.add(image)
        picture = cv2.imread(
            str(tmp_path / entry.file / f"{context.table.wds_key[image.row]}.png"), cv2.IMREAD_UNCHANGED
        )
        assert np.array_equal(picture, np.where(image.mask > 0, 255, 0))
    output.close()
