"""Why a file does not become a sample."""

import re
from enum import StrEnum

from pydicom.datadict import tag_for_keyword

LONGEST_TEXT = 200
"""Characters of another library's message that are kept; some repeat their whole input."""

_WORDS = re.compile(r"'([A-Za-z ]+)'")
_QUOTED = re.compile(r"(?<!\w)['\"].*['\"](?!\w)")
"""From the first opening quotation mark to the last closing one; an apostrophe inside a word is neither."""
_ALL_DECODERS = "Unable to decode as exceptions were raised by all available plugins: "


class Reason(StrEnum):
    """The reasons in quarantine.csv."""

    EMPTY_FILE = "empty_file"
    """The file has no bytes."""
    UNREADABLE = "unreadable"
    """The operating system refused to read it, or reading it ended the process."""
    NOT_DICOM = "not_dicom"
    """Not in DICOM format, or its header is damaged: an HTML or JSON error page, another image format."""
    NOT_AN_IMAGE = "not_an_image"
    """DICOM of a kind that is no picture: a report, a DICOMDIR, an encapsulated PDF, a dose map, a segmentation."""
    NO_ID = "no_id"
    """No usable SOP Instance UID, which is the image's id."""
    NO_PIXELS = "no_pixels"
    """An image's header without rows, columns or pixel data."""
    BAD_FRAME = "bad_frame"
    """The pixel data is cut off, damaged, or contradicts the header."""
    UNSUPPORTED = "unsupported"
    """A transfer syntax, colour space or size that is not handled."""
    DUPLICATE = "duplicate"
    """Several different files claim to be this image."""
    BAD_MASK = "bad_mask"
    """The run lengths in the masks CSV do not fit the image."""


class Rejected(Exception):
    """A file that cannot become a sample.

    Args:
        reason: The kind of trouble.
        stage: What was being done: ``open``, ``header``, ``frame``, ``render`` or ``mask``.
        found: What was found.
        expected: What would have been right.
        action: What the user can do about it.
    """

    def __init__(self, reason: Reason, stage: str, found: str, expected: str, action: str) -> None:
        # All of them are args, so that the exception survives the way back from a worker process.
        super().__init__(reason, stage, found, expected, action)
        self.reason, self.stage, self.found, self.expected, self.action = reason, stage, found, expected, action

    def __str__(self) -> str:
        return f"{self.found}; expected {self.expected}; {self.action}"


def describe(error: BaseException) -> str:
    """Return an exception's type and its text on one line, cut to a readable length.

    Whatever stands in quotation marks is left out, unless it is the name of a DICOM element: there, libraries repeat
    what the file says.
    """
    text = " ".join(str(error).split()).removeprefix(_ALL_DECODERS)
    text = _WORDS.sub(lambda match: match[1] if tag_for_keyword(match[1].replace(" ", "")) else match[0], text)
    text = _QUOTED.sub("'...'", text)
    return f"{type(error).__name__}: {text}"[:LONGEST_TEXT].removesuffix(": ")
