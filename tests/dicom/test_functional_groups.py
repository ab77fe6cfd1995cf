"""Windows, rescales and lookup tables in functional groups: those of the first frame count."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import reference_files as reference
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from pneumo.dicom import image_codec, image_file
from pneumo.dicom.rejection import FileRejectedError

RAMP = np.arange(4096, dtype=np.uint16).reshape(64, 64)
SHARED, FRAMES = "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"


def group(window: dict[str, Any] | None = None, rescale: dict[str, Any] | None = None) -> Dataset:
    """Return an item of functional groups."""
    item = Dataset()
    for keyword, elements in (("FrameVOILUTSequence", window), ("PixelValueTransformationSequence", rescale)):
        if elements is not None:
            inner = Dataset()
            for name, value in elements.items():
                setattr(inner, name, value)
            setattr(item, keyword, Sequence([inner]))
    return item


def levels(tmp_path: Path, syntax: str = "explicit", **more: Any) -> np.ndarray:
    path = reference.save(reference.build(RAMP, 12, syntax, **more), tmp_path / "x.dcm")
    return image_codec.decode(image_file.read(path).data).astype(int)


WINDOW, OTHER = {"WindowCenter": "1000", "WindowWidth": "500"}, {"WindowCenter": "3000", "WindowWidth": "90"}
RESCALE = {"RescaleSlope": "0.5", "RescaleIntercept": "-100"}
TABLE = {"VOILUTSequence": Sequence([reference.lut_item(500, 12, list(range(4095, 2000, -1)))])}
MODALITY = {"ModalityLUTSequence": Sequence([reference.lut_item(0, 16, list(range(0, 65536, 16)))])}
PLACES = {
    "a window for all frames": ({SHARED: Sequence([group(WINDOW)])}, WINDOW),
    "a window for each frame": ({FRAMES: Sequence([group(WINDOW), group(OTHER)])}, WINDOW),
    "a window for the frame and for all": (
        {SHARED: Sequence([group(OTHER)]), FRAMES: Sequence([group(WINDOW)])},
        WINDOW,
    ),
    "a window in a group and at the top": ({SHARED: Sequence([group(WINDOW)]), **OTHER}, WINDOW),
    "a window in place of a table": ({SHARED: Sequence([group(WINDOW)]), **TABLE}, WINDOW),
    "a rescale": ({SHARED: Sequence([group(None, RESCALE)]), **WINDOW}, RESCALE | WINDOW),
    "both": ({SHARED: Sequence([group(None, RESCALE)]), FRAMES: Sequence([group(WINDOW)])}, RESCALE | WINDOW),
    "a VOI LUT": ({SHARED: Sequence([group(TABLE)])}, TABLE),
    "a modality LUT": ({FRAMES: Sequence([group(None, MODALITY)])}, MODALITY),
    "nothing": ({SHARED: Sequence([Dataset()]), FRAMES: Sequence([])}, {}),
}


@pytest.mark.parametrize("syntax", ["implicit", "explicit", "big_endian"])
@pytest.mark.parametrize(("elements", "same"), PLACES.values(), ids=PLACES)
def test_display_elements_of_groups_count(
    tmp_path: Path, syntax: str, elements: dict[str, Any], same: dict[str, Any]
) -> None:
    assert np.array_equal(levels(tmp_path, syntax, **elements), levels(tmp_path, syntax, **same))


def test_a_jpeg_with_a_window_in_a_group_is_rendered(tmp_path: Path) -> None:
    dataset = reference.build_jpeg(RAMP.astype(np.uint8), SharedFunctionalGroupsSequence=Sequence([group(WINDOW)]))
    assert image_file.read(reference.save(dataset, tmp_path / "x.dcm")).image_format == "png"


def test_a_group_that_is_no_sequence_is_refused(tmp_path: Path) -> None:
    dataset = reference.build(RAMP, 12)
    dataset.add_new(SHARED, "LO", "abc")
    with pytest.raises(FileRejectedError, match=f"a {SHARED} that is not a sequence"):
        image_file.read(reference.save(dataset, tmp_path / "x.dcm"))
