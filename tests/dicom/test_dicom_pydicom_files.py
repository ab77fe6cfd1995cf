"""Every file that comes with pydicom: a sample with the image that pydicom renders, or a rejection listed here.

Nothing is downloaded: these are the files inside the installed package.
"""

import warnings
from pathlib import Path

import independent_rendering
import numpy as np
import pydicom.data
import pytest
from pydicom import dcmread

from pneumo.dicom import image_codec, image_file
from pneumo.dicom.rejection import FileRejectedError, Reason

DIRECTORY = Path(pydicom.data.__file__).parent / "test_files"
FILES = [
    path.relative_to(DIRECTORY).as_posix()
    for path in sorted(DIRECTORY.rglob("*"))
    if path.is_file() and path.suffix not in (".py", ".pyc")
]
REJECTED: dict[str, tuple[Reason, str]] = {
    "DICOMDIR*": (Reason.NOT_AN_IMAGE, "Media Storage Directory Storage"),
    "ExplVR_*NoMeta.dcm": (Reason.NOT_AN_IMAGE, "RT Ion Plan Storage"),
    # A codestream of 266 bytes, made to test the parsing of fragments: a delimiter is where its size should be.
    "JPEG2000-embedded-sequence-delimiter.dcm": (Reason.BAD_FRAME, "with 1 component"),
    "MR_truncated.dcm": (Reason.BAD_FRAME, "8130 vs 8192 bytes"),
    "README*": (Reason.UNKNOWN_FORMAT, "text without a DICOM prefix"),
    "SC_rgb_rle_32bit*.dcm": (Reason.UNSUPPORTED, "color of signed samples or more than 16 bits"),
    "IM0000*": (Reason.NO_PIXELS, "no pixel data"),
    "UN_sequence.dcm": (Reason.NO_PIXELS, "no pixel data"),
    "badVR.dcm": (Reason.NOT_AN_IMAGE, "RT Dose Storage"),
    "crayons.icc": (Reason.UNKNOWN_FORMAT, "binary data without a DICOM prefix"),
    "empty_charset_LEI.dcm": (Reason.NO_PIXELS, "no pixel data"),
    "liver_*.dcm": (Reason.NOT_AN_IMAGE, "Segmentation Storage"),
    "meta_missing_tsyntax.dcm": (Reason.NO_PIXELS, "0 x 0 pixels and pixel data"),
    "nested_priv_SQ.dcm": (Reason.NO_PIXELS, "0 x 0 pixels and pixel data"),
    # A space before the first element; pydicom finds one wrong element in it.
    "no_meta.dcm": (Reason.UNKNOWN_FORMAT, "binary data without a DICOM prefix"),
    "no_meta_group_length.dcm": (Reason.NO_PIXELS, "no pixel data"),
    "priv_SQ.dcm": (Reason.NO_PIXELS, "no pixel data"),
    "reportsi*.dcm": (Reason.NOT_AN_IMAGE, "Basic Text SR Storage"),
    "rtdose*.dcm": (Reason.NOT_AN_IMAGE, "RT Dose Storage"),
    "rtplan*.dcm": (Reason.NOT_AN_IMAGE, "RT Plan Storage"),
    "rtstruct.dcm": (Reason.NOT_AN_IMAGE, "RT Structure Set Storage"),
    "test-SR.dcm": (Reason.NOT_AN_IMAGE, "Comprehensive SR Storage"),
    "*.dump": (Reason.UNKNOWN_FORMAT, "text without a DICOM prefix"),
    "*.json": (Reason.UNKNOWN_FORMAT, "text without a DICOM prefix"),
    "waveform_ecg.dcm": (Reason.NOT_AN_IMAGE, "12-lead ECG Waveform Storage"),
    "zipMR.gz": (Reason.UNKNOWN_FORMAT, "a gzip archive by its first bytes"),
}
"""Patterns of file names."""
BY_DCMTK = ("JPEG-lossy.dcm", "JPGExtended.dcm")
"""Lossy JPEG of 12 bits, which pydicom does not decode: ``test_encoding_jpeg.py`` compares it with dcmtk."""
LOSSY_COLOR = 65535 * 2 / 255
"""Decoders round differently when they convert the YBR of JPEG to RGB."""


def listed(name: str) -> tuple[Reason, str] | None:
    return next((why for pattern, why in REJECTED.items() if Path(name).match(pattern)), None)


@pytest.mark.parametrize("name", FILES)
def test_a_file_of_pydicom_gives_the_right_image_or_a_listed_rejection(name: str) -> None:
    why = listed(name)
    if why is not None:
        with pytest.raises(FileRejectedError) as caught:
            image_file.read(DIRECTORY / name)
        assert caught.value.reason == why[0]
        assert why[1] in caught.value.found
        return
    image = image_file.read(DIRECTORY / name)
    assert image_file.scan(DIRECTORY / name).image_id == image.image_id
    if name in BY_DCMTK:
        assert any(note.startswith("lossy JPEG of 12 bits") for note in image.render_notes)
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = independent_rendering.render(dcmread(DIRECTORY / name))
    tolerance = LOSSY_COLOR if image.attributes.photometric.startswith(("YBR", "RGB", "PALETTE")) else 1
    shown = image_codec.decode(image.data).astype(np.float64) * (
        65535 / np.iinfo(image_codec.decode(image.data).dtype).max
    )
    assert shown.shape == expected.shape == (image.attributes.rows, image.attributes.columns)
    assert np.abs(shown - expected).max() <= tolerance


def test_every_listed_pattern_matches_a_file() -> None:
    assert len(FILES) > 150
    for pattern in REJECTED:
        assert any(Path(name).match(pattern) for name in FILES), f"no file {pattern}"
    samples = [name for name in FILES if listed(name) is None]
    assert len(samples) > 60
