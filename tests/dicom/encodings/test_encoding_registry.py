"""The registry of encodings: complete, without overlaps, and a module and a test file for each entry."""

import pkgutil
from pathlib import Path

import pytest
import reference_files as reference
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import UID, AllTransferSyntaxes, JPEG2000MCLossless

from pneumo.dicom import encodings
from pneumo.dicom.encodings import encoding, registry
from pneumo.dicom.rejection import FileRejectedError, Reason


def has_decoder(uid: UID) -> bool:
    """Return whether pydicom knows a decoder for a transfer syntax, installed or not."""
    try:
        get_decoder(uid)
    except NotImplementedError:
        return False
    return True


def test_every_module_is_an_entry_with_a_test_file() -> None:
    modules = {module.name for module in pkgutil.iter_modules(encodings.__path__)} - {"encoding", "registry"}
    assert set(registry.ENCODINGS) == modules
    for name in modules:
        assert (Path(__file__).parent / f"test_encoding_{name}.py").is_file()


def test_the_registry_has_what_pydicom_decodes_and_each_transfer_syntax_once() -> None:
    listed = [uid for entry in registry.ENCODINGS.values() for uid in entry.transfer_syntaxes]
    assert len(set(listed)) == len(listed)
    assert {uid for uid in AllTransferSyntaxes if has_decoder(uid)} <= set(listed)


@pytest.mark.parametrize("name", registry.ENCODINGS)
def test_an_encoding_is_found_by_its_transfer_syntaxes(name: str) -> None:
    for uid in registry.ENCODINGS[name].transfer_syntaxes:
        dataset = reference.build(reference.gradient("u1", 8))
        dataset.file_meta.TransferSyntaxUID = uid
        assert registry.find(dataset) is registry.ENCODINGS[name]


UNSUPPORTED = {
    "unknown": ("1.2.3.4", "an unknown transfer syntax"),
    "without a decoder": (JPEG2000MCLossless, "JPEG 2000 Part 2 Multi-component"),
}


@pytest.mark.parametrize(("uid", "found"), UNSUPPORTED.values(), ids=UNSUPPORTED)
def test_another_transfer_syntax_is_unsupported(uid: str, found: str) -> None:
    dataset = reference.build(reference.gradient("u1", 8))
    dataset.file_meta.TransferSyntaxUID = UID(uid)
    with pytest.raises(FileRejectedError) as caught:
        registry.find(dataset)
    assert (caught.value.reason, caught.value.phase) == (Reason.UNSUPPORTED, "frame")
    assert found in caught.value.found


BITS = {
    "as usual": (12, 11, 0),
    "two bits higher": (12, 13, 2),
    "too low": (12, 10, -1),
    "no Bits Stored": (0, 7, 0),
}


@pytest.mark.parametrize(("bits", "high", "below"), BITS.values(), ids=BITS)
def test_high_bit_tells_how_many_low_bits_are_unused(bits: int, high: int, below: int) -> None:
    dataset = reference.build(reference.gradient("u2", 12), 12)
    dataset.BitsStored, dataset.HighBit = bits, high
    assert encoding.unused_low_bits(dataset) == below


def test_without_high_bit_the_stored_bits_are_the_lowest() -> None:
    dataset = reference.build(reference.gradient("u2", 12), 12)
    del dataset.HighBit
    assert encoding.unused_low_bits(dataset) == 0
