"""A PNG for each image, empty or not."""

from pathlib import Path

import cv2
import numpy as np

from pneumo.dataset.shard_reader import ShardReader
from pneumo.reporting.outputs.registry import OUTPUTS


def test_each_mask_is_written_at_once_at_the_size_of_its_image(predicted, reader: ShardReader, tmp_path: Path) -> None:
    file, make = OUTPUTS["masks"]
    output = make(tmp_path / file, reader)
    for image in (predicted(0, 40, 30), predicted(1, 0, 0)):
        output.add(image)
        picture = cv2.imread(str(tmp_path / file / f"{reader.table.wds_key[image.row]}.png"), cv2.IMREAD_UNCHANGED)
        assert np.array_equal(picture, np.where(image.mask > 0, 255, 0))
    output.close()
