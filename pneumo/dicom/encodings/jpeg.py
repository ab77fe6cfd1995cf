"""Lossy JPEG of 8 and 12 bits, ITU-T T.81.

Of the processes, DICOM still has baseline and extended; spectral selection and full progression are retired.
"""

import numpy as np
import numpy.typing as npt
import simplejpeg
from pydicom.dataset import Dataset
from pydicom.uid import UID, JPEGBaseline8Bit, JPEGExtended12Bit

from pneumo.dicom.encodings.encoding import (
    FLAT,
    Bitstream,
    CheckedJpeg,
    Encoding,
    StoredValues,
    check_high_bit,
    decode_compressed,
    header_notes,
)
from pneumo.dicom.file_ends import PADDING_BYTES
from pneumo.dicom.gdcm_decoder import decode_jpeg
from pneumo.dicom.jpeg_segments import (
    BASELINE,
    END_OF_IMAGE,
    JpegHeader,
    bitstream_and_notes,
    first_bitstream,
    read_header,
)
from pneumo.dicom.pixel_data import bad_frame, check_size
from pneumo.dicom.rejection import FileRejectedError, Reason
from pneumo.dicom.values import transfer_syntax
from pneumo.runtime.errors import counted

_RETIRED = UID("1.2.840.10008.1.2.4.53"), UID("1.2.840.10008.1.2.4.55")
"""Spectral selection, processes 6 and 8, and full progression, processes 10 and 12; PS3.5 of 1999."""
_CONVERT = "convert it to an uncompressed transfer syntax, for example with dcmdjpeg"
_PROCESSES = {0xC0: "baseline", 0xC1: "extended sequential", 0xC2: "progressive"}
"""Names of the processes of lossy JPEG by the second byte of their start-of-frame marker."""
_ENDS_SCAN = np.ones(256, bool)
"""Whether the byte behind 0xff makes it a marker that ends a scan: restart markers do not, 0 makes it a byte of
entropy-coded data, and another 0xff fills."""
_ENDS_SCAN[[0, *range(0xD0, 0xD8), 0xFF]] = False


def check(dataset: Dataset) -> Bitstream:
    """Check that the bitstream is whole, has the size in the DICOM header and decodes without a warning.

    Raises:
        FileRejectedError: When it is damaged or contradicts the header, or is color of more than 8 bits.
    """
    frame, stray = bitstream_and_notes(dataset)
    header = read_header(frame)
    check_size(dataset, header.rows, header.columns, header.components)
    notes = header_notes(dataset, header.precision) + stray
    if _needs_gdcm(dataset, header):
        process = _PROCESSES.get(header.process, "of another process")
        precisions = {BASELINE: (8,)}.get(header.process, (8, 12) if header.process in _PROCESSES else ())
        if header.components != 1 or header.precision not in precisions:
            found = f"a lossy JPEG of {counted(header.components, 'component')} of {header.precision} bits, {process}"
            raise FileRejectedError(
                Reason.UNSUPPORTED, "frame", found, "one of 8 or 12 bits, or JPEG Baseline", _CONVERT
            )
        # gdcm refuses damage while it decodes.
        return Bitstream(
            precision=header.precision, notes=(*notes, f"lossy JPEG of {header.precision} bits, {process}")
        )
    small = check_bitstream(frame, header)
    return Bitstream(
        precision=header.precision, notes=notes + flat_notes(frame, small), small=small, jpeg=CheckedJpeg(frame, header)
    )


def check_bitstream(frame: bytes, header: JpegHeader) -> npt.NDArray[np.uint8]:
    """Check a bitstream by itself, from a DICOM or a JPEG file; return its gray image at an eighth of the size.

    Raises:
        FileRejectedError: When it is damaged, or the samples do not have 8 bits.
    """
    if header.precision != 8:
        found = f"a lossy JPEG of {header.precision} bits"
        raise FileRejectedError(Reason.UNSUPPORTED, "frame", found, "8 bits, or another compression", _CONVERT)
    small = check_decodes(frame)
    if header.process == BASELINE and header.components == 1:
        _check_baseline(frame, header)
    return small


def flat_notes(frame: bytes, small: npt.NDArray[np.uint8]) -> tuple[str, ...]:
    """Return a note when the image is flat, which a small one can seem to be without being so."""
    is_flat = np.ptp(small) == 0 and np.ptp(simplejpeg.decode_jpeg(frame, "GRAY")) == 0
    return (FLAT,) if is_flat else ()


def _needs_gdcm(dataset: Dataset, header: JpegHeader) -> bool:
    """Return whether the bitstream is one that Pillow, or pydicom's use of it, does not decode."""
    return header.precision != 8 or transfer_syntax(dataset) in _RETIRED


def check_decodes(frame: bytes) -> npt.NDArray[np.uint8]:
    """Decode the bitstream once and treat the decoder's warnings as errors.

    Decoders return an image for whatever they are given: a scan that is cut off becomes an image that is gray from
    there on. All of the entropy-coded data is read here, but the image is only made at an eighth of its size. No
    decoder can detect damage after which the codes happen to fit together again with the right number of blocks.

    Returns:
        (rows / 8, columns / 8) of the gray image.

    Raises:
        FileRejectedError: When the scan ends early or late, contains a marker or a code that is not in its tables,
            or does not fit the frame header, and when a table is damaged.
    """
    try:
        return np.asarray(simplejpeg.decode_jpeg(frame, "GRAY", min_height=1, min_width=1, strict=True)[..., 0])
    except ValueError as error:
        # The messages of libjpeg are constant texts with numbers in them.
        raise bad_frame(f"JPEG data that does not decode ({error})", "a whole JPEG bitstream") from None


def decode(dataset: Dataset) -> StoredValues:
    """Decode the first frame with Pillow, or with gdcm what Pillow does not decode."""
    frame = first_bitstream(dataset)
    header = read_header(frame)
    if _needs_gdcm(dataset, header):
        check_high_bit(dataset)
        return decode_jpeg(dataset, frame, header.precision)
    return decode_compressed(dataset, "pillow", frame, header.precision)


def _check_baseline(frame: bytes, header: JpegHeader) -> None:
    """Check what libjpeg-turbo accepts without a warning although it should not be in a baseline bitstream.

    Of 290,000 bitstreams with flipped bits, replaced bytes, inserted or removed segments, these remained: a missing
    Huffman table, for which libjpeg-turbo takes the one in the standard's annex K and other decoders fail; segments
    between the scan and the end, such as comments, which would get past ``jpeg_metadata``; data behind the end.
    """
    if not header.scan_tables <= header.huffman_tables:
        raise bad_frame("a JPEG scan without its Huffman tables", "a baseline JPEG bitstream")
    # Encoders write one scan for one component.
    end = _end_of_scan(frame, header.scan)
    if not frame.startswith(END_OF_IMAGE, end) or frame[end + len(END_OF_IMAGE) :].strip(PADDING_BYTES):
        raise bad_frame(f"a marker or data behind the scan, at byte {end} of {len(frame)}", "one scan and the end")


def _end_of_scan(frame: bytes, start: int) -> int:
    """Return the offset of the marker that ends the scan whose data begins at an offset; the end without one."""
    data = np.frombuffer(frame, np.uint8)[start:]
    # A regular expression takes several times as long for a scan without restart markers.
    at = np.flatnonzero(data[:-1] == 0xFF)
    ends = at[_ENDS_SCAN[data[at + 1]]]
    return start + int(ends[0]) if len(ends) else len(frame)


ENCODING = Encoding(transfer_syntaxes=(JPEGBaseline8Bit, JPEGExtended12Bit, *_RETIRED), check=check, decode=decode)
