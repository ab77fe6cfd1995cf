"""Read one DICOM file that may be anything: its ids for planning, its image for a shard, or why it has none.

Each file ends as a ``Header`` or an ``Image``, or with a ``FileRejectedError``; no other exception gets out.
"""

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import BinaryIO, Literal

import cv2
import numpy as np
import numpy.typing as npt
from pydicom import config
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from pneumo.dicom import attributes, functional_groups, image_codec, projection, sop_instance
from pneumo.dicom.attributes import Attributes
from pneumo.dicom.encodings import registry
from pneumo.dicom.functional_groups import GROUP_ELEMENTS
from pneumo.dicom.opening import Location
from pneumo.dicom.palettes import PALETTE_ELEMENTS
from pneumo.dicom.parsing import ElementOrder, parse
from pneumo.dicom.passthrough import DISPLAY_ELEMENTS, passthrough_frame
from pneumo.dicom.rejection import CORRECT_HEADER, FETCH_AGAIN, FileRejectedError, Reason, explain
from pneumo.dicom.rendering import render
from pneumo.dicom.stored_bits import OVERLAY_ELEMENTS
from pneumo.dicom.values import correct_vr, integer, is_malformed, tags, text
from pneumo.masks import image_ids
from pneumo.masks.image_ids import strip_suffix

HEADER_ELEMENTS = projection.ELEMENTS | tags(("SOPInstanceUID", "PatientID"))
SAMPLE_ELEMENTS = (
    "SamplesPerPixel",
    "PlanarConfiguration",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
)
"""How a sample is stored, a number each; a malformed one rejects the file, since a default would be a guess."""
_LAST_OF_HEADER = max(HEADER_ELEMENTS)
IMAGE_ELEMENTS = (DISPLAY_ELEMENTS | GROUP_ELEMENTS | PALETTE_ELEMENTS | OVERLAY_ELEMENTS | projection.ELEMENTS) | tags(
    (
        *("SOPInstanceUID", "PatientSex", "PatientAge"),
        *("SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "NumberOfFrames", "Rows", "Columns"),
        *(
            "PixelSpacing",
            "ImagerPixelSpacing",
            "PixelSpacingCalibrationType",
            "BitsAllocated",
            "BitsStored",
            "HighBit",
            "PixelRepresentation",
        ),
        *("RescaleSlope", "RescaleIntercept", "VOILUTFunction", "PresentationLUTShape"),
        *("ExtendedOffsetTable", "ExtendedOffsetTableLengths", "PixelData"),
    )
)
"""All elements that are read for an image; names, dates and free text are skipped."""

MAX_PIXELS = 1 << 26
"""8192 x 8192: more than any X-ray detector has, few enough to decode within the memory limit of a worker."""

BITS_ALLOCATED = (1, 8, 16, 32)
"""Sizes of a stored sample that can be read."""

_OUT_OF_MEMORY = re.compile(r"bad_alloc|[Uu]nable to allocate|^  \w+: *$", re.MULTILINE)
"""How pydicom's message reports a decoder that ran out of memory; Python's MemoryError has an empty message."""
_SMALLER = "leave it out, or make it smaller"
_NO_IMAGE = "leave it out, or fetch the file again when it is cut off"
_PIXEL_DATA_TAG = b"\xe0\x7f\x10\x00"


Drawn = Literal["", "mask", "black"]
"""What a picture without gray levels is: ``mask``, 0 and one other level, mostly 0; ``black``, 0 alone; empty for all
others, and for a DICOM."""


@dataclass(frozen=True, slots=True)
class Header:
    """What a dataset is planned by."""

    image_id: str
    """SOP Instance UID: the id in the masks CSV and in the submission; empty when it has no usable one."""
    patient_id: str
    """Patient ID, empty when missing; it must never be written anywhere."""
    file_stem: str
    """The file's name without ``.dcm``."""
    exclusion: str = ""
    """Why it is not a frontal chest X-ray, such as ``modality CT``; empty when nothing says so."""
    is_picture: bool = False
    """A PNG or JPEG file, which has no header."""
    id_problem: str = ""
    """Why there is no image id; empty when there is one."""
    drawn: Drawn = ""


@dataclass(frozen=True, slots=True)
class Image:
    """One image, ready to be written into a shard."""

    image_id: str
    """SOP Instance UID, or a picture's name; it may be unusable where files have other ids."""
    attributes: Attributes
    image_format: Literal["jpg", "png"]
    """``jpg``: the frame of the DICOM file, byte for byte except for metadata. ``png``: rendered to 16 bits."""
    data: bytes
    was_monochrome1: bool
    """Whether the lowest stored value is white, as in MONOCHROME1; in ``data`` it is always black."""
    render_notes: tuple[str, ...]
    """Decisions of the rendering, such as ``first of 4 frames``."""
    small: npt.NDArray[np.uint8] | None = field(default=None, compare=False)
    """(rows / 8, columns / 8) of the image, where reading it has made one."""


def scan(path: Location, file: BinaryIO) -> Header:
    """Read a file's ids and what it shows; the rest of the file is not read.

    Args:
        path: Its path, for its name.
        file: The file, open at its start.

    Raises:
        FileRejectedError: When the file has another format, or is not an image.
        OSError: When it cannot be read.
    """
    with _quiet_pydicom():
        dataset = _parse_ids(file)
        sop_instance.check_is_image(dataset)
        uid = sop_instance.instance_uid(dataset)
        problem = sop_instance.find_problem(uid)
        exclusion = projection.find_exclusion(projection.read(dataset))
    # It is sent to the planning process, and a file may give it any length.
    patient_id = text(dataset, "PatientID")[: image_ids.MAX_LENGTH]
    return Header("" if problem else uid, patient_id, strip_suffix(path.name), exclusion, id_problem=problem)


def read(data: bytes) -> Image:
    """Read a file's image: its JPEG frame if that needs no rendering, else rendered to a 16-bit PNG.

    Args:
        data: All of its bytes.

    Raises:
        FileRejectedError: When the file cannot become a sample.
        MemoryError: When that takes more memory than there is.
    """
    with _quiet_pydicom():
        order = ElementOrder()
        dataset = parse(io.BytesIO(data), IMAGE_ELEMENTS, order=order)
        sop_instance.check_is_image(dataset)
        image_id = sop_instance.instance_uid(dataset)
        # Of elements in any order the scan may have met another one, and none of those behind where it stops.
        if not order.ascends and image_id != sop_instance.instance_uid(_parse_ids(io.BytesIO(data))):
            raise FileRejectedError(Reason.NO_ID, "header", "two SOP Instance UIDs", "one", CORRECT_HEADER)
        _complete_transfer_syntax(dataset)
        described = attributes.read(dataset)
        _check_pixels(dataset, described, data)
        for keyword in ("Rows", "Columns", *SAMPLE_ELEMENTS):
            correct_vr(dataset, keyword)
        try:
            return _image(dataset, image_id, described)
        except (FileRejectedError, MemoryError):
            raise
        except Exception as error:
            raise decoder_rejection(error) from None


def _parse_ids(file: BinaryIO) -> Dataset:
    """Parse as far as the ids and what the image shows."""
    return parse(file, HEADER_ELEMENTS, last=_LAST_OF_HEADER)


def _image(dataset: Dataset, image_id: str, described: Attributes) -> Image:
    functional_groups.merge_first_frame(dataset)
    bitstream = registry.find(dataset).check(dataset)
    notes = sop_instance.notes_of(image_id) + attributes.notes_of(dataset) + bitstream.notes
    frame = passthrough_frame(dataset, bitstream.jpeg)
    if frame is not None:
        return Image(
            image_id, described, "jpg", frame, was_monochrome1=False, render_notes=notes, small=bitstream.small
        )
    rendered = render(dataset, bitstream.precision)
    return Image(
        image_id,
        described,
        "png",
        image_codec.encode_png(rendered.pixels),
        rendered.was_monochrome1,
        tuple(dict.fromkeys(notes + rendered.render_notes)),
    )


@contextmanager
def _quiet_pydicom() -> Iterator[None]:
    """Turn off pydicom's validation of values and its warnings, which quote the file."""
    with config.disable_value_validation(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _complete_transfer_syntax(dataset: Dataset) -> None:
    """Fill in a missing transfer syntax: the uncompressed one in which the parser has read the elements.

    Raises:
        FileRejectedError: When its element is present but damaged, since more of the header may be.
    """
    item = dataset.file_meta.get_item(Tag("TransferSyntaxUID"), keep_deferred=True)
    if getattr(item, "VR", "UI") != "UI":
        found = "a transfer syntax that is not a UID"
        raise FileRejectedError(Reason.BAD_HEADER, "header", found, "a whole file", FETCH_AGAIN)
    if "TransferSyntaxUID" not in dataset.file_meta:
        implicit, little = dataset.original_encoding
        explicit = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else explicit


def _check_pixels(dataset: Dataset, described: Attributes, data: bytes) -> None:
    """Check that there is pixel data and that the elements that describe it are numbers within limits."""
    if "PixelData" not in dataset and _PIXEL_DATA_TAG in data:
        raise FileRejectedError(Reason.BAD_FRAME, "frame", "pixel data without an end", "a whole file", FETCH_AGAIN)
    stored = getattr(dataset.get_item("PixelData", keep_deferred=True), "value", None)
    if not stored or not described.rows or not described.columns:
        found = f"{described.rows} x {described.columns} pixels and {'' if stored else 'no '}pixel data"
        raise FileRejectedError(Reason.NO_PIXELS, "header", found, "rows, columns and pixel data", _NO_IMAGE)
    if described.rows * described.columns > MAX_PIXELS:
        found = f"{described.rows} x {described.columns} pixels"
        raise FileRejectedError(Reason.UNSUPPORTED, "header", found, f"at most {MAX_PIXELS} pixels", _SMALLER)
    malformed = [keyword for keyword in SAMPLE_ELEMENTS if is_malformed(dataset, keyword)]
    if malformed or integer(dataset, "PixelRepresentation") not in (0, 1):
        found = f"a {(malformed or ['PixelRepresentation'])[0]} that DICOM does not allow"
        raise FileRejectedError(Reason.BAD_FRAME, "header", found, "one number", CORRECT_HEADER)
    allocated, stored_bits = integer(dataset, "BitsAllocated"), integer(dataset, "BitsStored")
    if allocated not in BITS_ALLOCATED or not 1 <= stored_bits <= allocated:
        found = f"Bits Stored of {stored_bits} in Bits Allocated of {allocated}"
        expected = f"1 or more bits stored in {', '.join(map(str, BITS_ALLOCATED))}"
        raise FileRejectedError(Reason.BAD_FRAME, "header", found, expected, CORRECT_HEADER)


def decoder_rejection(error: Exception) -> FileRejectedError:
    """Return the rejection for an exception of pydicom or a decoder."""
    if getattr(error, "code", None) == cv2.Error.StsNoMem or _OUT_OF_MEMORY.search(str(error)):
        return too_much_memory()
    found = explain(error, "pixel data that does not decode")
    return FileRejectedError(Reason.BAD_FRAME, "render", found, "pixel data that fits its header", FETCH_AGAIN)


def too_much_memory() -> FileRejectedError:
    """Return the rejection of a file that takes more memory than its process may use."""
    return FileRejectedError(
        Reason.TOO_MUCH_MEMORY,
        "read",
        "more memory than the limit for one file",
        "an image that fits into it",
        "leave it out, or raise --memory-limit for a good image",
    )
