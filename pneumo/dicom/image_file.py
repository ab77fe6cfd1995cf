"""Read one file that may be anything, by its content whatever its name: a DICOM, or a picture in PNG or JPEG."""

from dataclasses import replace

from pneumo.dicom import mask_pictures, picture, reader
from pneumo.dicom.opening import Location, open_file
from pneumo.dicom.reader import Header, Image, decoder_rejection, too_much_memory
from pneumo.dicom.rejection import FileRejectedError

_DICOM_PREFIX = slice(128, 132), b"DICM"
"""Where a DICOM has it, whatever is before: the preamble may make it a picture or a TIFF as well."""
_BEGINNING = 132
"""Bytes that tell a picture from a DICOM."""


def scan(path: Location) -> Header:
    """Read a file's ids, and whether a picture is a mask.

    Raises:
        FileRejectedError: When the file cannot be read, is not an image, or has no id.
    """
    with open_file(path) as file:
        if not _is_picture(file.read(_BEGINNING)):
            file.seek(0)
            return reader.scan(path, file)
    return replace(picture.header(path), drawn=mask_pictures.drawn(path))


def read(path: Location) -> Image:
    """Read a file's image: its JPEG or PNG if that needs no rendering, else rendered to a 16-bit PNG.

    Raises:
        FileRejectedError: When the file cannot become a sample, whatever the cause.
    """
    try:
        with open_file(path) as file:
            data = file.read()
        return _read_picture(path, data) if _is_picture(data[:_BEGINNING]) else reader.read(data)
    except MemoryError:
        raise too_much_memory() from None


def _read_picture(path: Location, data: bytes) -> Image:
    try:
        return picture.read(path, data)
    except (FileRejectedError, MemoryError):
        raise
    except Exception as error:
        raise decoder_rejection(error) from None


def _is_picture(beginning: bytes) -> bool:
    """Return whether a file is a PNG or a JPEG by its first ``_BEGINNING`` bytes."""
    place, prefix = _DICOM_PREFIX
    return beginning.startswith(picture.SIGNATURES) and beginning[place] != prefix
