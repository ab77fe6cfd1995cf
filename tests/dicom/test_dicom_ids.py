"""The SOP Instance UID must be one identifier."""

from pathlib import Path
from typing import Any

import pytest
import reference_files as reference
from pydicom import config
from pydicom.uid import UID

from pneumo.dicom import reader
from pneumo.dicom.reader import DicomRejectedError, Reason

VALUES = reference.gradient("u2", 12)


def whole(tmp_path: Path, name: str = "1.2.3.dcm", **more: Any) -> Path:
    return reference.save(reference.build(VALUES, 12, **more), tmp_path / name)


def made_up_uid(text: str) -> UID:
    with config.disable_value_validation():
        return UID(text)


BAD_IDS = {"two values": "1.2\\1.3", "control characters": "1.2\n=cmd", "too long": "1" * 300}


@pytest.mark.parametrize("uid", BAD_IDS.values(), ids=BAD_IDS)
def test_an_id_is_one_printable_word(tmp_path: Path, uid: str) -> None:
    path = whole(tmp_path, SOPInstanceUID=made_up_uid("MARK"))
    data = path.read_bytes()
    mark, value = b"\x08\x00\x18\x00UI\x04\x00MARK", uid.encode() + b"\0" * (len(uid) % 2)
    assert mark in data
    path.write_bytes(data.replace(mark, b"\x08\x00\x18\x00UI" + len(value).to_bytes(2, "little") + value))
    with pytest.raises(DicomRejectedError, match="not an identifier"):
        reader.scan(path)


def test_a_file_with_two_ids_is_refused(tmp_path: Path) -> None:
    path = whole(tmp_path)
    data = path.read_bytes()
    other = b"\x08\x00\x18\x00UI\x06\x001.2.3\0"
    path.write_bytes(data + other)
    with pytest.raises(DicomRejectedError, match="two SOP Instance UIDs") as caught:
        reader.read(path)
    assert caught.value.reason == Reason.NO_ID
