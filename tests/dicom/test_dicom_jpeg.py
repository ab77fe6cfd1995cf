import cv2
import numpy as np
import pytest
import reference_files as reference

from pneumo.dicom import jpeg
from pneumo.dicom.rejection import DicomRejectedError

NOISE = np.random.default_rng(5).integers(0, 256, (24, 40), dtype=np.uint8)
JPEG = reference.encode_jpeg(NOISE)
SCAN = jpeg.parse(JPEG).scan


def decoded_shape(frame: bytes) -> tuple[int, ...] | None:
    pixels = cv2.imdecode(np.frombuffer(frame, np.uint8), cv2.IMREAD_UNCHANGED)
    return None if pixels is None else pixels.shape


def test_the_header_is_read() -> None:
    header = jpeg.parse(JPEG)
    assert (header.process, header.precision, header.rows, header.columns, header.components) == (0xC0, 8, 24, 40, 1)
    assert (header.quantisation, header.huffman, header.oriented) == ({0}, {0x00, 0x10}, False)
    assert JPEG[header.scan - 10 : header.scan - 8] == b"\xff\xda"


@pytest.mark.parametrize("start", [0, 100, 200, 300])
def test_every_flipped_bit_of_a_header_is_found_or_harmless_to_decoders(start: int) -> None:
    for at in range(start, min(start + 100, SCAN)):
        for bit in range(8):
            frame = bytearray(JPEG)
            frame[at] ^= 1 << bit
            try:
                header = jpeg.parse(bytes(frame))
                jpeg.check_decodes(bytes(frame))
            except DicomRejectedError:
                continue
            if (header.process, header.precision, header.components) == (jpeg.BASELINE, 8, 1):
                assert decoded_shape(bytes(frame)) == (header.rows, header.columns), f"bit {bit} of byte {at}"


@pytest.mark.parametrize("missing", [0xDB, 0xC4], ids=["quantisation", "Huffman"])
def test_a_bitstream_without_its_tables_is_rejected(missing: int) -> None:
    at = JPEG.index(bytes([0xFF, missing]))
    length = 2 + int.from_bytes(JPEG[at + 2 : at + 4], "big")
    with pytest.raises(DicomRejectedError, match="does not fit the frame header and tables"):
        jpeg.parse(JPEG[:at] + JPEG[at + length :])


def test_noise_in_the_scan_is_found_by_its_markers() -> None:
    random = np.random.default_rng(8)
    found = 0
    for _ in range(50):
        noise = random.bytes(512)
        frame = JPEG[: SCAN + 100] + noise + JPEG[SCAN + 612 :]
        assert len(frame) == len(JPEG)
        try:
            jpeg.parse(frame)
        except DicomRejectedError:
            found += 1
    # 512 random bytes hold a marker with a chance of 1 - (1 - 0.96 / 256) ** 512 = 85 %.
    assert found > 30
