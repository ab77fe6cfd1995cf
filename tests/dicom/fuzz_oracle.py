"""Check what the reader returns for a mutated file against pydicom's reading of the same bytes.

When ``test_dicom_fuzz.py`` fails, its report names the mutated file, which is kept. Then:

1. Read the file with ``pneumo.dicom.image_file.read`` and with ``pydicom.dcmread(path, force=True)``, and find the
   element that the mutation changed (the report names the file of the corpus and the mutation).
2. A crash, a hang or an exception other than ``FileRejectedError`` is an error in ``pneumo.dicom``. Make the reader
   reject the file, with a case in ``test_dicom_rejected_files.py`` or in the test of the encoding.
3. For two different images, decide by the standard which of them is right. If it is pydicom's, correct the reader, or
   make it reject the file. If it is the reader's, correct ``by_pydicom`` here (pydicom misread the bytes),
   ``_apply_notes`` (the reader ignored an element and noted it), or ``independent_rendering.py`` (the arithmetic).
4. If the standard leaves both possible, make the reader reject the file. Do not raise a tolerance.
"""

import io
import re
import subprocess
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import independent_rendering
import numpy as np
import reference_encodings as encodings
from fuzz_mutations import LONG, elements
from pydicom import Dataset, config, dcmread
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.encaps import get_frame
from pydicom.tag import Tag
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGBaseline8Bit

from pneumo.dicom import image_codec, image_file
from pneumo.dicom.attributes import AT_DETECTOR
from pneumo.dicom.reader import Header, Image
from pneumo.dicom.rejection import FileRejectedError
from pneumo.dicom.sop_instance import NO_UID
from pneumo.masks import image_ids

IMAGE_ELEMENTS = (
    *("Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "NumberOfFrames"),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelPaddingValue", "PixelPaddingRangeLimit"),
    *("RescaleSlope", "RescaleIntercept", "ModalityLUTSequence", "VOILUTSequence", "WindowCenter", "WindowWidth"),
    *("VOILUTFunction", "PresentationLUTShape", "PresentationLUTSequence", "ExtendedOffsetTable"),
    *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
    *(f"Segmented{color}PaletteColorLookupTableData" for color in ("Red", "Green", "Blue")),
    *(f"{color}PaletteColorLookupTableDescriptor" for color in ("Red", "Green", "Blue")),
    *(f"{color}PaletteColorLookupTableData" for color in ("Red", "Green", "Blue")),
    *("ExtendedOffsetTableLengths", "PixelData"),
)
"""All elements that an image depends on, besides the transfer syntax."""
CODESTREAM = re.compile(r"codestream of (\d+) bits under")
RETIRED = ("1.2.840.10008.1.2.4.53", encodings.PROGRESSIVE)
META_LENGTH = b"DICM\x02\0\0\0"
REQUIRED_VRS = {b"\x02\0\x10\0": b"UI", b"\x08\0\x05\0": b"CS"}
"""VRs of the transfer syntax and of the character set, without which pydicom refuses the file."""
DECODER = {"1.2.840.10008.1.2.4.50": "pillow", "1.2.840.10008.1.2.4.51": "pillow", "1.2.840.10008.1.2.4.90": "pillow"}
"""Not gdcm, which crashes on some files; JPEG Lossless and JPEG-LS have no other decoder."""
TOLERANCES = {"jpg": 2 * 257, "color": 2 * 257, "png": 1}
"""Largest difference of levels: two decoders of a lossy JPEG differ by two steps of 8 bits, the rest is rounding."""


def dependencies(dataset: Dataset) -> dict[str, Any]:
    """Return the values of all that the image depends on."""
    values = dict[str, Any]()
    for keyword in IMAGE_ELEMENTS:
        if keyword in dataset:
            try:
                values[keyword] = dataset[keyword].value
            except Exception as error:
                values[keyword] = repr(error)
    return values | {"syntax": dataset.file_meta.TransferSyntaxUID, "encoding": dataset.original_encoding}


@contextmanager
def lenient_pydicom() -> Iterator[None]:
    """Turn off pydicom's validation of values and of the character set, which no image needs."""
    with (
        config.disable_value_validation(),
        warnings.catch_warnings(),
        mock.patch("pydicom.filereader.convert_encodings", return_value=["latin-1"]),
        mock.patch("pydicom.dataset.convert_encodings", return_value=["latin-1"]),
    ):
        warnings.simplefilter("ignore")
        yield


def by_pydicom(data: bytes) -> Dataset:
    """Read a file with pydicom, with the VRs of the data dictionary instead of mutated ones."""
    dataset = dcmread(io.BytesIO(_with_required_vrs(data)), force=True)
    if not 0 < len(image_id(dataset)) <= image_ids.MAX_LENGTH:
        # Where other VRs are wrong as well, pydicom may only read the file with the mutated one.
        dataset = dcmread(io.BytesIO(data), force=True)
    for source, keyword in ((dataset.file_meta, "TransferSyntaxUID"), *((dataset, key) for key in IMAGE_ELEMENTS)):
        element = source.get_item(Tag(keyword))
        if isinstance(element, RawDataElement) and len(dictionary_VR(element.tag)) == 2:
            if keyword == "NumberOfFrames" and element.VR in ("US", "SS", "UL", "SL"):
                continue  # pydicom accepts a binary number as well
            # The data dictionary defines the VR, whatever it was mutated to.
            source[element.tag] = element._replace(VR=dictionary_VR(element.tag))
        elif isinstance(element, RawDataElement) and keyword.endswith("LookupTableDescriptor"):
            source[element.tag] = element._replace(VR="US")
        elif isinstance(element, RawDataElement) and keyword == "PixelData" and element.VR not in ("OB", "OW"):
            source[element.tag] = element._replace(VR="OB")
    _correct_lut_descriptors(dataset)
    syntax = dataset.file_meta.get("TransferSyntaxUID", "")
    if not (syntax if isinstance(syntax, str) else "".join(syntax or "")):
        # Missing or blank: the encoding in which pydicom read the elements.
        implicit, little = dataset.original_encoding
        explicit = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else explicit
    return dataset


def _correct_lut_descriptors(dataset: Dataset) -> None:
    """Let pydicom read the descriptors of lookup tables in all sequences as numbers, whatever VR they were given."""
    # A delimiter out of place is no element, and pydicom cannot convert it.
    for tag in [tag for tag in dataset.keys() if tag.group != 0xFFFE]:  # noqa: SIM118
        element = dataset.get_item(tag)
        if tag == Tag("LUTDescriptor") and isinstance(element, RawDataElement) and element.VR not in ("US", "SS"):
            dataset[tag] = element._replace(VR="US")
        elif element.VR == "SQ":
            for item in dataset[tag].value or ():
                _correct_lut_descriptors(item)


def _with_required_vrs(data: bytes) -> bytes:
    """Return the bytes with the right VR of the few elements without which pydicom refuses a file."""
    if data[128:136] == META_LENGTH and data[138:140] == b"\x04\0":
        # The length of the meta header is not used.
        data = data[:136] + b"UL" + data[138:]
    for element in elements(data):
        tag, vr = data[element.start : element.start + 4], slice(element.start + 4, element.start + 6)
        if tag in REQUIRED_VRS and data[vr] not in LONG:
            data = data[: vr.start] + REQUIRED_VRS[tag] + data[vr.stop :]
    return data


def image_id(dataset: Dataset) -> str:
    """Return the SOP Instance UID by its bytes: pydicom refuses to convert it when its VR is mutated."""
    for source, keyword in ((dataset, "SOPInstanceUID"), (dataset.file_meta, "MediaStorageSOPInstanceUID")):
        value = getattr(source.get_item(Tag(keyword)), "value", None) or b""
        text = value.decode("latin-1").strip(" \0") if isinstance(value, bytes) else str(value)
        if text:
            return text
    return ""


def attempt(use: Any, path: Path) -> Any:
    try:
        return use(path)
    except FileRejectedError as rejected:
        return rejected


class Oracle:
    """Compares the images of mutated files with those of the original files and of pydicom.

    Args:
        corpus: The original files by name.
        path: Where to write each mutated file.
    """

    def __init__(self, corpus: dict[str, bytes], path: Path) -> None:
        self.path = path
        self.originals: dict[str, tuple[Image, dict[str, Any]]] = {}
        for name, data in corpus.items():
            path.write_bytes(data)
            with lenient_pydicom():
                self.originals[name] = image_file.read(path), dependencies(by_pydicom(data))

    def check(self, name: str, data: bytes) -> str:
        """Read a mutated copy of a file; return ``rejected``, ``untouched`` or ``compared``.

        Raises:
            AssertionError: When the image is neither that of the original file nor that of pydicom.
            Exception: Whatever else the reader raises, or pydicom for a file that the reader accepted.
        """
        self.path.write_bytes(data)
        header, image = attempt(image_file.scan, self.path), attempt(image_file.read, self.path)
        assert isinstance(header, Header | FileRejectedError)
        if isinstance(image, FileRejectedError) or isinstance(header, FileRejectedError):
            # A build scans a file before it reads it.
            return "rejected"
        if header.id_problem:
            return "rejected"
        assert header == Header(image.image_id, header.patient_id, header.file_stem, header.exclusion)
        pixels = image_codec.decode(image.data)
        assert pixels.shape == (image.attributes.rows, image.attributes.columns)
        with lenient_pydicom():
            return self._compare(name, data, image, pixels)

    def _compare(self, name: str, data: bytes, image: Image, pixels: np.ndarray) -> str:
        original, depends = self.originals[name]
        dataset = by_pydicom(data)
        assert image.image_id == image_id(dataset)
        if dependencies(dataset) == depends:
            assert (image.image_format, image.was_monochrome1, _without_header(image.render_notes)) == (
                original.image_format,
                original.was_monochrome1,
                _without_header(original.render_notes),
            )
            assert image.data == original.data, "another image although nothing that it depends on was changed"
            return "untouched"
        independent_rendering.lift_first_frame(dataset)
        _apply_notes(dataset, image.render_notes)
        if any(" of 12 bits, " in note for note in image.render_notes):
            # A directory of this process: two of them would read each other's files.
            _decode_by_dcmtk(dataset, self.path.with_suffix(".dcmtk"))
        is_retired = dataset.file_meta.TransferSyntaxUID in RETIRED
        if is_retired:
            # One of 8 bits, which pydicom decodes by this name.
            dataset.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
        if image.image_format == "jpg":
            # If missing, they are those of the bitstream, which is never signed.
            dataset.setdefault("PixelRepresentation", 0)
            dataset.setdefault("SamplesPerPixel", 1)
        decoder = DECODER.get(UID(dataset.file_meta.TransferSyntaxUID), "")
        try:
            expected = independent_rendering.render(dataset, decoder)
        except RuntimeError:
            # Pillow refuses some JPEG 2000 codestreams that OpenJPEG accepts.
            expected = independent_rendering.render(dataset, "pylibjpeg")
        kind = "color" if dataset.get("SamplesPerPixel", 1) == 3 else image.image_format
        if is_retired or dataset.PhotometricInterpretation == "PALETTE COLOR":
            kind = "color"
        shown = pixels.astype(np.float64) * (65535 / np.iinfo(pixels.dtype).max)
        worst = np.abs(shown - expected).max()
        assert worst <= TOLERANCES[kind], f"an image that differs from pydicom's by {worst:.0f} levels"
        return "compared"


def _without_header(notes: tuple[str, ...]) -> tuple[str, ...]:
    """Return the notes about pixels alone."""
    return tuple(note for note in notes if note not in (NO_UID, AT_DETECTOR))


def _apply_notes(dataset: Dataset, notes: tuple[str, ...]) -> None:
    """Remove the elements that the reader ignored by its notes."""
    if "unusable window ignored" in notes:
        dataset.pop("WindowWidth", None)
        dataset.pop("WindowCenter", None)
    if "unusable padding value ignored" in notes:
        del dataset.PixelPaddingValue
    if "unknown VOI LUT function taken as LINEAR" in notes:
        dataset.VOILUTFunction = "LINEAR"
    if not dataset.get("VOILUTFunction", "LINEAR"):
        # Blank is the same as missing.
        del dataset.VOILUTFunction
    for precision in (int(found[1]) for found in map(CODESTREAM.match, notes) if found):
        dataset.BitsStored = min(precision, dataset.BitsStored)
        dataset.BitsAllocated, dataset.HighBit = 8 if precision <= 8 else 16, dataset.BitsStored - 1


def _decode_by_dcmtk(dataset: Dataset, directory: Path) -> None:
    """Replace a lossy JPEG of 12 bits by the values that dcmtk decodes, from a file that has nothing else."""
    directory.mkdir(exist_ok=True)
    frame = get_frame(dataset.PixelData, 0, number_of_frames=int(dataset.get("NumberOfFrames") or 1))
    file = encodings.jpeg_of_12_bits(dataset.file_meta.TransferSyntaxUID, frame)
    file.Rows, file.Columns = dataset.Rows, dataset.Columns
    encodings.save_jpeg_of_12_bits(file, directory / "jpeg.dcm")
    subprocess.run(["dcmdjpeg", directory / "jpeg.dcm", directory / "plain.dcm"], check=True, capture_output=True)
    plain = dcmread(directory / "plain.dcm")
    dataset.PixelData, dataset.NumberOfFrames = plain.PixelData, 1
    dataset.setdefault("SamplesPerPixel", 1)
    dataset.file_meta.TransferSyntaxUID = plain.file_meta.TransferSyntaxUID
