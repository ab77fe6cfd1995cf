"""The numbers that stored samples stand for, sample by sample."""

from typing import Any

import numpy as np
import pytest
import reference_files as reference

from pneumo.dicom import stored_bits
from pneumo.dicom.stored_bits import StoredBits


def number(pattern: int, dtype: str, bits: StoredBits, **elements: Any) -> int:
    dataset = reference.build(reference.gradient("u2", 12), bits.bits, **elements)
    return int(stored_bits.numbers_of(dataset, np.array([pattern], dtype), bits)[0])


UNSIGNED, SIGNED = StoredBits(12, is_signed=False), StoredBits(12, is_signed=True)
PATTERNS = {
    "unsigned": (0x0FFB, "u2", UNSIGNED, 4091),
    "unsigned, above": (0x1FFB, "u2", UNSIGNED, 0x1FFB),
    "sign copied": (-5, "i2", SIGNED, -5),
    "sign not copied": (0x0FFB, "i2", SIGNED, -5),
    "signed, above": (5000, "i2", SIGNED, 5000),
    "signed, below": (-5000, "i2", SIGNED, -5000),
    "signed in an unsigned container": (0xFFFB, "u2", SIGNED, -5),
    "32 bits": (2**32 - 1, "u4", StoredBits(32, is_signed=False), 2**32 - 1),
}


@pytest.mark.parametrize(("pattern", "dtype", "bits", "expected"), PATTERNS.values(), ids=PATTERNS)
def test_a_pattern_is_a_number(pattern: int, dtype: str, bits: StoredBits, expected: int) -> None:
    assert number(pattern, dtype, bits) == expected
    assert bits.is_beyond(np.array([expected]))[0] == (abs(expected) >= 5000 and bits.bits == 12)


def test_bits_of_an_overlay_are_no_part_of_the_number() -> None:
    dataset = reference.build(reference.gradient("u2", 12), 12)
    dataset.add_new((0x6000, 0x0102), "US", 12)
    stored = np.array([0x1FFB, 0x2FFB], np.uint16)
    assert stored_bits.numbers_of(dataset, stored, UNSIGNED).tolist() == [0xFFB, 0x2FFB]


def test_the_ends_of_the_bits() -> None:
    assert (UNSIGNED.lowest, UNSIGNED.highest, SIGNED.lowest, SIGNED.highest) == (0, 4095, -2048, 2047)


@pytest.mark.parametrize(("precision", "bits"), [(0, 12), (8, 8), (12, 12), (16, 12)])
def test_the_lower_of_precision_and_bits_stored_counts(precision: int, bits: int) -> None:
    dataset = reference.build(reference.gradient("i2", 12), 12)
    assert stored_bits.find(dataset, precision) == StoredBits(bits, is_signed=True)
