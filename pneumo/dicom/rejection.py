"""The reasons for which a file does not become a sample, and the exception that carries one.

The checks, in the order in which a file meets them::

    dicom/opening.py          not_a_file, empty_file, unreadable
    dicom/zip_archives.py     bad_archive; not_a_file, too_much_memory: a member of a zip archive
    dicom/picture.py          no_id, bad_frame, unsupported: a PNG or JPEG file
    dicom/file_kinds.py       unknown_format
    dicom/parsing.py          bad_header; bad_frame, too_much_memory: a file that ends early or inflates without end
    dicom/sop_instance.py     not_an_image
    dataset/plan.py           no_id, duplicate
    dicom/reader.py           no_id, no_pixels; bad_frame, unsupported: rows, columns, bits; whatever a decoder raises
    dicom/encodings/          bad_frame, unsupported: the check of each encoding, before its decoder gets the frame
    dicom/rendering.py        bad_frame, unsupported: color spaces, lookup tables
    dataset/shard_writer.py   no_id: a file that was replaced after its header was read; bad_mask
    dataset/limits.py         took_too_long, too_much_memory, crashed: the process that reads the file
"""

import re
from enum import StrEnum

FETCH_AGAIN = "fetch the file again from its source"
"""The action for a file that was probably damaged or cut off on its way."""
CORRECT_HEADER = "correct its header or export it again, or leave it out"
"""The action for a file whose header contradicts itself or its pixel data: whoever wrote it did so."""

_SENTENCES = (
    (re.compile(r"less than expected \((\d+ vs \d+ bytes)\)"), r"pixel data that is less than expected (\1)"),
    (re.compile("RLE"), "RLE data that does not decode"),
    (re.compile("No tag to read|[Uu]nexpected end|[Ee]nd of file"), "a sequence that ends inside an item"),
    (re.compile("recursion"), "sequences that are nested too deeply"),
    (re.compile("VR|[Vv]alue [Rr]epresentation"), "an element of a value representation that DICOM does not define"),
)
"""What messages of pydicom and its decoders say about a file, by a part of the message."""


class Reason(StrEnum):
    """The reasons in quarantine.csv; job/QUARANTINE.md explains each to its reader."""

    NOT_A_FILE = "not_a_file"
    """A FIFO, a socket, a device, or a link that leads nowhere; it is never opened."""
    EMPTY_FILE = "empty_file"
    """The file has no bytes."""
    UNREADABLE = "unreadable"
    """The operating system refused to open, read or list it."""
    UNKNOWN_FORMAT = "unknown_format"
    """Neither DICOM, PNG nor JPEG: an error page, an archive, another image format."""
    BAD_ARCHIVE = "bad_archive"
    """A zip archive, or a member of one, that cannot be unpacked: damaged, encrypted, without files."""
    BAD_HEADER = "bad_header"
    """A DICOM whose elements before the pixel data cannot be parsed."""
    NOT_AN_IMAGE = "not_an_image"
    """A DICOM object other than an X-ray image: a report, a DICOMDIR, an encapsulated PDF, a segmentation."""
    NO_ID = "no_id"
    """No usable image id: SOP Instance UID, or the name of a picture or, when names are the ids, of any file."""
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


class FileRejectedError(Exception):
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


def explain(error: BaseException, otherwise: str) -> str:
    """Return what another library's error says about the file, without what the message quotes from it.

    Args:
        error: The error.
        otherwise: What to say when its message is not known.
    """
    for pattern, sentence in _SENTENCES:
        match = pattern.search(str(error))
        if match:
            return match.expand(sentence)
    return otherwise
