"""What libjpeg inside gdcm writes to standard error, and what it means."""

import os

import pytest

from pneumo.dicom import gdcm_decoder
from pneumo.dicom.rejection import FileRejectedError

DAMAGE = (
    "Corrupt JPEG data: premature end of data segment\n",
    "Corrupt JPEG data: 20 extraneous bytes before marker 0xd2\n",
    "Premature end of JPEG file\n",
    "Inconsistent progression sequence for component 0 coefficient 1\n",
)
HARMLESS = ("", "Unsupported JPEG data precision 12\n", "Corrupt JPEG data: 9 extraneous bytes before marker 0xd9\n")


@pytest.mark.parametrize("text", DAMAGE)
def test_warnings_of_damage_are_refused(text: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(FileRejectedError, match="ends before the image"), gdcm_decoder.damage_refused():
        os.write(2, text.encode())
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("text", HARMLESS)
def test_other_texts_are_not(text: str, capfd: pytest.CaptureFixture[str]) -> None:
    with gdcm_decoder.damage_refused():
        os.write(2, text.encode())
    os.write(2, b"afterwards")
    assert capfd.readouterr().err == "afterwards"


def test_standard_error_comes_back_after_an_error(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyError), gdcm_decoder.damage_refused():
        raise KeyError
    os.write(2, b"afterwards")
    assert capfd.readouterr().err == "afterwards"
