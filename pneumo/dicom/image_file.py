"""Read one file that may be anything, by its content whatever its name: a DICOM, or a picture in PNG or JPEG."""

from dataclasses import replace

from pneumo.dicom import mask_pictures, picture, reader
from pneumo.dicom.opening import Location, open_file
from pneumo.dicom.reader import Header, Image, decoder_rejection, too_much_memory
from pneumo.dicom.rejection import FileRejectedError

_DICOM_PREFIX = slice(128, 132), b"DICM"
"""Where a DICOM has it, whatever is before: the preamble may make it a picture or a TIFF as well."""


def scan(path: Location) -> Header:
    """Read a file's ids, and whether a picture is a mask.

    Raises:
        FileRejectedError: When the file cannot be read, is not an image, or has no id.
    """
    if not is_picture(path):
        return reader.scan(path)
    return replace(picture.header(path), drawn=mask_pictures.drawn(path))


def read(path: Location) -> Image:
    """Read a file's image: its JPEG or PNG if that needs no rendering, else rendered to a 16-bit PNG.

    Raises:
        FileRejectedError: When the file cannot become a sample, whatever the cause.
    """
    if not is_picture(path):
        return reader.read(path)
    try:
        with open_file(path) as file:
            data = file.read()
        return picture.read(path, data)
    except FileRejectedError:
        raise
    except MemoryError:
        raise too_much_memory() from None
    except Exception as error:
        raise decoder_rejection(error) from None


def is_picture(path: Location) -> bool:
    """Return whether a file is a PNG or a JPEG by its first bytes.

    Raises:
        FileRejectedError: When it cannot be read.
    """
    with open_file(path) as file:
        beginning = file.read(132)
    place, prefix = _DICOM_PREFIX
    return beginning.startswith(picture.SIGNATURES) and beginning[place] != prefix
