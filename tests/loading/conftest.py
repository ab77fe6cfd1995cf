"""The dataset of loading_data, written once."""

import numpy as np
import pytest
from loading_data import CASES, Data, encode, picture, write_dataset

from pneumo.masks import rle


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Data:
    files, masks = [], []
    for seed, case in enumerate(CASES):
        files.append(encode(case, picture(case.rows, case.columns, seed)))
        y, x = np.mgrid[: case.rows, : case.columns]
        inside = np.hypot(y / case.rows - 0.3, x / case.columns - 0.6) < 0.2
        masks.append((inside & case.positive).astype(np.uint8))
    reader = write_dataset(tmp_path_factory.mktemp("data") / "dataset", files, [rle.encode(mask) for mask in masks])
    return Data(reader, files, masks)
