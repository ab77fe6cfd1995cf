"""Whether what the reader made of a spoiled file is right, judged by pydicom's own reading of the same bytes."""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import independent_rendering
import numpy as np
from fuzz_mutations import LONG, elements
from pydicom import Dataset, config, dcmread
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from pneumo.dicom import image_codec, reader
from pneumo.dicom.reader import Header, Image
from pneumo.dicom.rejection import DicomRejectedError

PICTURE_ELEMENTS = (
    *("Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "NumberOfFrames"),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelPaddingValue", "PixelPaddingRangeLimit"),
    *("RescaleSlope", "RescaleIntercept", "ModalityLUTSequence", "VOILUTSequence", "WindowCenter", "WindowWidth"),
    *("VOILUTFunction", "PresentationLUTShape", "PresentationLUTSequence", "ExtendedOffsetTable"),
    *(f"{color}PaletteColorLookupTableDescriptor" for color in ("Red", "Green", "Blue")),
    *(f"{color}PaletteColorLookupTableData" for color in ("Red", "Green", "Blue")),
    *("ExtendedOffsetTableLengths", "PixelData"),
)
"""All that a picture depends on, besides the transfer syntax."""
META_LENGTH = b"DICM\x02\0\0\0"
VITAL_VRS = {b"\x02\0\x10\0": b"UI", b"\x08\0\x05\0": b"CS"}
"""VRs of the transfer syntax and of the character set, without which pydicom gives up."""
DECODER = {"1.2.840.10008.1.2.4.50": "pillow", "1.2.840.10008.1.2.4.51": "pillow", "1.2.840.10008.1.2.4.90": "pillow"}
"""Not gdcm, which does not survive everything; JPEG Lossless and JPEG-LS have no other."""
TOLERANCES = {"jpg": 2 * 257, "colour": 2 * 257, "png": 1}
"""Levels: two decoders of a lossy JPEG differ by two steps of 8 bits, all else is arithmetic."""


def dependencies(dataset: Dataset) -> dict[str, Any]:
    """Return the values of all that the picture depends on."""
    values = dict[str, Any]()
    for keyword in PICTURE_ELEMENTS:
        if keyword in dataset:
            try:
                values[keyword] = dataset[keyword].value
            except Exception as error:
                values[keyword] = repr(error)
    return values | {"syntax": dataset.file_meta.TransferSyntaxUID, "encoding": dataset.original_encoding}


@contextmanager
def lenient_pydicom() -> Iterator[None]:
    """Keep pydicom from judging values, and from giving up a file for its character set, which no picture needs."""
    with (
        config.disable_value_validation(),
        warnings.catch_warnings(),
        mock.patch("pydicom.filereader.convert_encodings", return_value=["latin-1"]),
        mock.patch("pydicom.dataset.convert_encodings", return_value=["latin-1"]),
    ):
        warnings.simplefilter("ignore")
        yield


def by_pydicom(data: bytes) -> Dataset:
    """Read a file as pydicom does when told to make the best of it."""
    dataset = dcmread(io.BytesIO(_amended(data)), force=True)
    if not image_id(dataset):
        # A right VR can be what makes pydicom give up, where others are wrong as well.
        dataset = dcmread(io.BytesIO(data), force=True)
    for source, keyword in ((dataset.file_meta, "TransferSyntaxUID"), *((dataset, key) for key in PICTURE_ELEMENTS)):
        element = source.get_item(Tag(keyword))
        if isinstance(element, RawDataElement) and len(dictionary_VR(element.tag)) == 2:
            if keyword == "NumberOfFrames" and element.VR in ("US", "SS", "UL", "SL"):
                continue  # pydicom takes a binary one as well
            # The standard says what they are, whatever the VR is spoiled to.
            source[element.tag] = element._replace(VR=dictionary_VR(element.tag))
        elif isinstance(element, RawDataElement) and keyword == "PixelData" and element.VR not in ("OB", "OW"):
            source[element.tag] = element._replace(VR="OB")
    syntax = dataset.file_meta.get("TransferSyntaxUID", "")
    if not (syntax if isinstance(syntax, str) else "".join(syntax or "")):
        # None, or a blank one: the encoding is seen.
        implicit, little = dataset.original_encoding
        explicit = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else explicit
    return dataset


def _amended(data: bytes) -> bytes:
    """Return the bytes with the right VR of the few elements without which pydicom gives up a file."""
    if data[128:136] == META_LENGTH and data[138:140] == b"\x04\0":
        # Nobody needs the length.
        data = data[:136] + b"UL" + data[138:]
    for element in elements(data):
        tag, vr = data[element.start : element.start + 4], slice(element.start + 4, element.start + 6)
        if tag in VITAL_VRS and data[vr] not in LONG:
            data = data[: vr.start] + VITAL_VRS[tag] + data[vr.stop :]
    return data


def image_id(dataset: Dataset) -> str:
    """Return the SOP Instance UID by its bytes: pydicom refuses to convert it where its VR is spoiled."""
    for source, keyword in ((dataset, "SOPInstanceUID"), (dataset.file_meta, "MediaStorageSOPInstanceUID")):
        value = getattr(source.get_item(Tag(keyword)), "value", None) or b""
        text = value.decode("latin-1").strip(" \0") if isinstance(value, bytes) else str(value)
        if text:
            return text
    return ""


def attempt(use: Any, path: Path) -> Any:
    try:
        return use(path)
    except DicomRejectedError as rejected:
        return rejected


class Judge:
    """Compares what becomes of spoiled files with what the whole ones were.

    Args:
        corpus: The whole files by name.
        path: A place to write each spoiled file to.
    """

    def __init__(self, corpus: dict[str, bytes], path: Path) -> None:
        self.path = path
        self.whole: dict[str, tuple[Image, dict[str, Any]]] = {}
        for name, data in corpus.items():
            path.write_bytes(data)
            with lenient_pydicom():
                self.whole[name] = reader.read(path), dependencies(by_pydicom(data))

    def judge(self, name: str, data: bytes) -> str:
        """Return what became of a spoiled copy of a file: ``rejected``, ``untouched`` or ``compared``.

        Raises:
            AssertionError: When the picture is neither that of the whole file nor what pydicom makes of this one.
            Exception: What else the reader raises, or pydicom, of a file that the reader took.
        """
        self.path.write_bytes(data)
        header, image = attempt(reader.scan, self.path), attempt(reader.read, self.path)
        assert isinstance(header, Header | DicomRejectedError)
        if isinstance(image, DicomRejectedError) or isinstance(header, DicomRejectedError):
            # A build scans a file before it reads it.
            return "rejected"
        assert header == Header(image.image_id, header.patient_id, header.file_stem)
        pixels = image_codec.decode(image.data)
        assert pixels.shape == (image.attributes.rows, image.attributes.columns)
        with lenient_pydicom():
            return self._compare(name, data, image, pixels)

    def _compare(self, name: str, data: bytes, image: Image, pixels: np.ndarray) -> str:
        whole, depends = self.whole[name]
        dataset = by_pydicom(data)
        assert image.image_id == image_id(dataset)
        if dependencies(dataset) == depends:
            assert (image.encoding, image.was_monochrome1, image.render_notes) == (
                whole.encoding,
                whole.was_monochrome1,
                whole.render_notes,
            )
            assert image.data == whole.data, "another picture although nothing that it depends on was touched"
            return "untouched"
        _follow_notes(dataset, image.render_notes)
        if image.encoding == "jpg":
            # Where they are missing, the bitstream says as much, and is never signed.
            dataset.setdefault("PixelRepresentation", 0)
            dataset.setdefault("SamplesPerPixel", 1)
        decoder = DECODER.get(UID(dataset.file_meta.TransferSyntaxUID), "")
        try:
            expected = independent_rendering.picture(dataset, decoder)
        except RuntimeError:
            # Pillow gives up some JPEG 2000 codestreams that openjpeg's own reader takes.
            expected = independent_rendering.picture(dataset, "pylibjpeg")
        kind = "colour" if dataset.get("SamplesPerPixel", 1) == 3 else image.encoding
        if dataset.PhotometricInterpretation == "PALETTE COLOR":
            kind = "colour"
        shown = pixels.astype(np.float64) * (65535 / np.iinfo(pixels.dtype).max)
        worst = np.abs(shown - expected).max()
        assert worst <= TOLERANCES[kind], f"a picture that is {worst:.0f} levels from pydicom's"
        return "compared"


def _follow_notes(dataset: Dataset, notes: tuple[str, ...]) -> None:
    """Do what the reader has said that it did where a file makes no sense; whoever reads the dataset can see it."""
    if "unusable window ignored" in notes:
        dataset.pop("WindowWidth", None)
        dataset.pop("WindowCenter", None)
    if "unusable padding value ignored" in notes:
        del dataset.PixelPaddingValue
    if "unknown VOI LUT function taken as LINEAR" in notes:
        dataset.VOILUTFunction = "LINEAR"
    if not dataset.get("VOILUTFunction", "LINEAR"):
        # Blank: as if it were not there.
        del dataset.VOILUTFunction
