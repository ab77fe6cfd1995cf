"""The reasons for which a file does not become a sample, and the exception that carries one.

The checks, in the order in which a file meets them::

    dicom/opening.py          not_a_file, empty_file, unreadable
    dicom/picture.py          no_id, bad_frame, unsupported: a PNG or JPEG file
    dicom/parsing.py          not_dicom; bad_frame, too_much_memory: a file that ends early or inflates without end
    dicom/sop_instance.py     not_an_image, no_id
    dataset/plan.py           duplicate
    dicom/reader.py           no_pixels; bad_frame, unsupported: rows, columns, bits; whatever a decoder raises
    dicom/encodings/          bad_frame, unsupported: the check of each encoding, before its decoder gets the frame
    dicom/rendering.py        bad_frame, unsupported: color spaces, lookup tables
    dataset/shard_writer.py   bad_mask
    dataset/limits.py         took_too_long, too_much_memory, crashed: the process that reads the file
"""

import re
from enum import StrEnum

from pydicom.datadict import dictionary_description, keyword_dict

LONGEST_TEXT = 200
"""Characters of another library's message that are kept; some messages quote their whole input."""

FETCH_AGAIN = "fetch the file again from its source"
"""The action for a damaged file."""
CHECK_HEADER = "check the header"
"""The action for a file whose header contradicts itself or its pixel data."""

_WORDS = re.compile(r"(['\"])([A-Za-z ]+)\1")
_QUOTED = re.compile(r"(?<!\w)b?['\"](?:.*['\"](?!\w)|.*)")
"""From the first opening quotation mark to the last closing one, or to the end; an apostrophe inside a word is neither.
What a message quotes may be text of the file, such as a name."""
_ALL_DECODERS = "Unable to decode as exceptions were raised by all available plugins: "
_OF_THE_STANDARD = frozenset(map(dictionary_description, keyword_dict.values())) | frozenset(keyword_dict)
"""Names and keywords of the elements that DICOM defines, which may be quoted."""


class Reason(StrEnum):
    """The reasons in quarantine.csv; job/QUARANTINE.md explains each to its reader."""

    NOT_A_FILE = "not_a_file"
    """A FIFO, a socket, a device, or a link that leads nowhere; it is never opened."""
    EMPTY_FILE = "empty_file"
    """The file has no bytes."""
    UNREADABLE = "unreadable"
    """The operating system refused to open, read or list it."""
    NOT_DICOM = "not_dicom"
    """Neither DICOM, PNG nor JPEG, or its header is damaged: an error page, an archive, another image format."""
    NOT_AN_IMAGE = "not_an_image"
    """A DICOM object other than an X-ray image: a report, a DICOMDIR, an encapsulated PDF, a segmentation."""
    NO_ID = "no_id"
    """No usable SOP Instance UID, which is the image's id."""
    NO_PIXELS = "no_pixels"
    """An image's header without rows, columns or pixel data."""
    BAD_FRAME = "bad_frame"
    """The pixel data is cut off, damaged, or contradicts the header."""
    UNSUPPORTED = "unsupported"
    """A transfer syntax, color space or size that is not handled."""
    DUPLICATE = "duplicate"
    """Several different files have this image id."""
    BAD_MASK = "bad_mask"
    """The run lengths in the masks CSV do not fit the image's size."""
    TOOK_TOO_LONG = "took_too_long"
    """Reading it took longer than the time limit for one file."""
    TOO_MUCH_MEMORY = "too_much_memory"
    """Reading it takes more than the memory limit for one file, as a decompression bomb does."""
    CRASHED = "crashed"
    """A decoder failed in an unforeseen way, or ended the process that read the file, at each attempt."""


class DicomRejectedError(Exception):
    """A file that cannot become a sample.

    Args:
        reason: The category.
        phase: The step that failed: ``open``, ``header``, ``plan``, ``read``, ``frame``, ``render`` or ``mask``.
        found: What was found.
        expected: What was expected.
        action: What the user can do.
    """

    def __init__(self, reason: Reason, phase: str, found: str, expected: str, action: str) -> None:
        # All of them are args, so that the exception can be pickled by a worker process.
        super().__init__(reason, phase, found, expected, action)
        self.reason, self.phase, self.found, self.expected, self.action = reason, phase, found, expected, action

    def __str__(self) -> str:
        return f"{self.found}; expected {self.expected}; {self.action}"


def describe(error: BaseException) -> str:
    """Return an exception's type and message on one line, without what the message quotes, cut to ``LONGEST_TEXT``."""
    text = " ".join(str(error).split()).removeprefix(_ALL_DECODERS)
    text = _WORDS.sub(lambda match: match[2] if match[2] in _OF_THE_STANDARD else match[0], text)
    text = _QUOTED.sub("...", text)
    return f"{type(error).__name__}: {text}"[:LONGEST_TEXT].removesuffix(": ")
