from dataclasses import replace
from pathlib import Path

import pydicom

from pneumo.reporting.outputs.context import OutputContext
from pneumo.reporting.outputs.registry import OUTPUTS
from pneumo.synthetic.tree import SyntheticTree


def test_every_output_writes_what_the_registry_names(
    predicted, context: OutputContext, synthetic: SyntheticTree, tmp_path: Path
) -> None:
    image = predicted(0, 5, 5)
    # A segmentation refers to UIDs alone.
    source = pydicom.dcmread(next(synthetic.test_dicom.iterdir()))
    source.SOPInstanceUID = source.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    source.save_as(tmp_path / "source.dcm")
    context = replace(context, sources={image.prediction.image_id: tmp_path / "source.dcm"})
    directory = tmp_path / "out"
    for entry in OUTPUTS.values():
        output = entry.make(directory, context)
        output.add(image)
        output.close()
    assert {p.name for p in directory.iterdir()} == {entry.file for entry in OUTPUTS.values()}
    assert {p.name for p in directory.iterdir()} >= {"predictions.csv", "findings.csv", "overlays", "segmentations"}
