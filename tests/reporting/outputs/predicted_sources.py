"""DICOMs of every kind, read as a prediction reads them, each with the same mask, and what an output writes of them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import source_files
from pydicom.dataset import Dataset
from source_files import KINDS, UIDS, WRITTEN

from pneumo.dataset.incoming import read_images
from pneumo.dataset.options import BuildInputs, BuildOptions
from pneumo.inference.ensembler import ImagePrediction, PredictedImage
from pneumo.masks import rle
from pneumo.reporting.outputs.context import OutputContext
from pneumo.reporting.outputs.derived_instances import CHANGED
from pneumo.reporting.outputs.registry import Output


def mask() -> np.ndarray:
    """Return a mask that no flip and no turn gives again."""
    made = np.zeros((source_files.ROWS, source_files.COLUMNS), np.uint8)
    made[3:20, 5:9] = made[17:20, 5:40] = made[49, 70] = 1
    return made


def predict(paths: dict[str, Path], tmp_path: Path) -> tuple[OutputContext, dict[str, PredictedImage]]:
    """Read DICOMs as a prediction does, and give each the same mask."""
    options = BuildOptions(workers=1, max_quarantined=100, include_non_frontal=True)
    images = read_images(BuildInputs(dicom=tmp_path / "in", id="file-name"), options, tmp_path / "set", tmp_path)
    assert images.problem is None, images.lists
    context = OutputContext(
        reader=images.reader, sources=images.sources, lists=images.lists, account="", model="", rule="a rule"
    )
    predicted = {}
    for row, name in enumerate(images.reader.table.image_id.tolist()):
        prediction = ImagePrediction(
            image_id=name,
            rle=rle.encode(mask()),
            presence_probability=0.5,
            mask_area=int(mask().sum()),
            max_pixel_probability=0.5,
        )
        predicted[name] = PredictedImage(prediction, row, lambda: mask() * np.float32(0.5), mask(), images.reader)
    assert set(predicted) == set(paths), images.lists
    return context, predicted


def write_all(
    make: Callable[[Path, OutputContext], Output], root: Path
) -> dict[str, tuple[Dataset, Path, PredictedImage]]:
    """Return the source, the written file and the predicted image of each kind."""
    (root / "in").mkdir()
    paths, sources = {}, {}
    for number, (kind, given) in enumerate(KINDS.items()):
        uids = {name: f"{uid}.{number}" for name, uid in UIDS.items()}
        paths[f"f{number}"] = root / "in" / f"f{number}.dcm"
        sources[f"f{number}"] = kind, source_files.write(paths[f"f{number}"], {**given, **uids})
    context, predicted = predict(paths, root)
    output = make(root / "out", context)
    for image in predicted.values():
        output.add(image)
    output.close()
    noted = {kind: [CHANGED + ", ".join(WRITTEN[kind])] if kind in WRITTEN else [] for kind in KINDS}
    assert set(context.notes) <= set(sources)
    assert {kind: context.notes[name] for name, (kind, _) in sources.items()} == noted
    return {kind: (source, root / "out" / f"{name}.dcm", predicted[name]) for name, (kind, source) in sources.items()}
