"""Valid and broken headers that were once shown black or white, each rebuilt: a ramp stays a ramp, to the last level.

Each is checked against a closed form and against dcmtk. Where dcmtk shows something else, the table says what; the
decisions are in job/QUARANTINE.md.
"""

import shutil
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import pytest
import reference_files as reference
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from pneumo.dicom import image_codec, image_file

RAMP = np.arange(4096, dtype=np.uint16).reshape(64, 64)
SHOWN = np.rint(RAMP * (65535 / 4095)).astype(int)
WORDS = RAMP.astype("<u2").tobytes()
BYTES = np.tile(np.arange(256, dtype=np.uint8), 16).reshape(64, 64)
LUT, WIDTH = ("+Wl", "1"), ("+Wi", "1")
CUT = RAMP.astype(int) % 256 * 256
"""Entries cut to the 8 bits of their descriptor."""
COLORS = ("Red", "Green", "Blue")
ABOVE = "lookup table with entries above its number of bits shown in the range of its entries"


class Fault(NamedTuple):
    """A header, and what it is shown as."""

    elements: dict[str, Any]
    notes: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    """Those with which dcmtk uses a VOI LUT or a window."""
    by_dcmtk: np.ndarray | None = None
    """What dcmtk shows if it is something else."""
    syntax: str = "explicit"
    photometric: str = "MONOCHROME2"
    pixels: np.ndarray = RAMP
    shown: np.ndarray = SHOWN


def lut(first: int, bits: int, data: Any = WORDS, vr: str = "OW") -> Sequence:
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [4096, first % 65536, bits])
    item.add_new("LUTData", vr, data)
    return Sequence([item])


BELOW = {"RescaleSlope": "1", "RescaleIntercept": "-1024"}
WINDOW = {"WindowCenter": "2048", "WindowWidth": "4096"}
SIGNED = (RAMP * 16).astype(np.uint16).view(np.int16).ravel().tolist()
PALETTE = {f"{color}PaletteColorLookupTableDescriptor": [256, 0, 16] for color in COLORS} | {
    f"{color}PaletteColorLookupTableData": (np.arange(256) * 256).astype(">u2").tobytes() for color in COLORS
}
INVALID = "lookup table without a valid number of bits shown in the range of its entries"
IDENTITY = "MONOCHROME1 with Presentation LUT Shape IDENTITY shown inverted, as MONOCHROME1"
FAULTS = {
    "a first value below 0, implicit VR": Fault(
        {"VOILUTSequence": lut(-1024, 12), **BELOW}, (), LUT, syntax="implicit"
    ),
    "a first value below 0 under US": Fault({"VOILUTSequence": lut(-1024, 12), **BELOW}, (), LUT),
    "a VOI LUT of 12 bits under 8": Fault({"VOILUTSequence": lut(0, 8)}, (ABOVE,), LUT, CUT),
    "a modality LUT of 12 bits under 8": Fault({"ModalityLUTSequence": lut(0, 8), **WINDOW}, (ABOVE,), (), CUT),
    "a VOI LUT of 32 bits": Fault({"VOILUTSequence": lut(0, 32)}, (INVALID,), LUT),
    "entries under SS": Fault(
        {"VOILUTSequence": lut(0, 16, SIGNED, "SS")}, (), LUT, shown=np.rint(RAMP * 16.0).astype(int)
    ),
    "a slope of 0": Fault(
        {"RescaleSlope": "0", "RescaleIntercept": "0", **WINDOW}, ("rescale with a slope of 0 ignored",), WIDTH
    ),
    "a palette in big endian": Fault(
        PALETTE,
        ("PALETTE COLOR rendered to gray",),
        (),
        None,
        "big_endian",
        "PALETTE COLOR",
        BYTES,
        256 * BYTES.astype(int),
    ),
    "padding of every value": Fault(
        {"PixelPaddingValue": 0, "PixelPaddingRangeLimit": 4095}, ("padding value of every pixel ignored",)
    ),
    "MONOCHROME1 with IDENTITY": Fault(
        {"PresentationLUTShape": "IDENTITY"}, (IDENTITY,), (), SHOWN, photometric="MONOCHROME1", shown=65535 - SHOWN
    ),
}
"""The ten files that were found to go wrong, by what is wrong with them."""


def save(fault: Fault, path: Path) -> Path:
    bits = 12 if fault.pixels is RAMP else 8
    return reference.save(
        reference.build(fault.pixels, bits, fault.syntax, fault.photometric, **fault.elements), path / "x.dcm"
    )


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_faulty_header_shows_the_ramp(tmp_path: Path, fault: Fault) -> None:
    image = image_file.read(save(fault, tmp_path))
    # The window of the slope of 0 is one level beside the full range at its lower end.
    assert np.abs(image_codec.decode(image.data).astype(int) - fault.shown).max() <= 1
    assert image.render_notes == fault.notes


@pytest.mark.skipif(shutil.which("dcmj2pnm") is None, reason="dcmtk is not installed")
@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_dcmtk_shows_the_same_or_what_is_listed(tmp_path: Path, fault: Fault) -> None:
    picture = tmp_path / "x.pgm"
    words = ["dcmj2pnm", "-O", "+on2", *fault.flags, save(fault, tmp_path), picture]
    subprocess.run(words, check=True, capture_output=True)
    levels = cv2.imread(str(picture), cv2.IMREAD_UNCHANGED).reshape(64, 64, -1)[..., 0].astype(int)
    expected = fault.shown if fault.by_dcmtk is None else fault.by_dcmtk
    # dcmtk puts 12 bits into the upper ones of 16, so that white is 65520.
    assert np.abs(levels - expected).max() <= 15
