"""Mutations of a DICOM file as by disks, networks, converters and people, each a pure function of its random state."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

Random = np.random.Generator
PREAMBLE = 132
LONG = (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV")
VRS = (*LONG, b"AE", b"AS", b"CS", b"DA", b"DS", b"IS", b"LO", b"PN", b"SH", b"SL", b"SS", b"UI", b"UL", b"US", b"??")
NUMBERS = (0, 1, 2, 3, 7, 8, 11, 12, 15, 16, 17, 32, 64, 255, 256, 1024, 32767, 32768, 65534, 65535)
ITEM, ITEM_END, SEQUENCE_END = b"\xfe\xff\x00\xe0", b"\xfe\xff\x0d\xe0", b"\xfe\xff\xdd\xe0"
UNDEFINED = b"\xff\xff\xff\xff"


class Element(NamedTuple):
    """The offsets of an element in a file."""

    start: int
    length_at: int
    length_size: int
    value: int
    end: int


def elements(data: bytes) -> list[Element]:
    """Return the elements of a file in explicit VR little endian, as far as it is one, those in sequences too."""
    return list(_walk(data, PREAMBLE, len(data)))


def _walk(data: bytes, at: int, stop: int, depth: int = 0) -> Iterator[Element]:
    while at + 8 <= stop:
        vr = data[at + 4 : at + 6]
        size = 4 if vr in LONG else 2
        length_at = at + 8 if vr in LONG else at + 6
        value = length_at + size
        length = data[length_at:value]
        if length == UNDEFINED:
            end = data.rfind(SEQUENCE_END, 0, stop) + 8
            if end < value:
                return
        else:
            end = value + int.from_bytes(length, "little")
        if end > stop or not vr.isalpha():
            return
        yield Element(at, length_at, size, value, end)
        if vr == b"SQ" and depth < 3 and data[value : value + 4] == ITEM:
            item = int.from_bytes(data[value + 4 : value + 8], "little")
            yield from _walk(data, value + 8, min(end, value + 8 + item), depth + 1)
        at = end


def pick(random: Random, data: bytes) -> Element:
    """Return one of the elements; if there are none, a range of bytes that could be one."""
    found = elements(data)
    if found:
        return found[int(random.integers(len(found)))]
    start = int(random.integers(0, max(1, len(data) - 16)))
    return Element(start, start + 6, 2, start + 8, min(len(data), start + 16))


def flip_header_bits(random: Random, data: bytes, other: bytes) -> bytes:
    damaged = bytearray(data)
    start, end = min(PREAMBLE, len(data) - 1), min(len(data), 1200)
    for _ in range(int(random.integers(1, 4))):
        damaged[int(random.integers(start, end))] ^= 1 << int(random.integers(8))
    return bytes(damaged)


def flip_bits_anywhere(random: Random, data: bytes, other: bytes) -> bytes:
    damaged = bytearray(data)
    for _ in range(int(random.integers(1, 4))):
        damaged[int(random.integers(len(data)))] ^= 1 << int(random.integers(8))
    return bytes(damaged)


def cut(random: Random, data: bytes, other: bytes) -> bytes:
    return data[: int(random.integers(1, len(data)))]


def lose_a_block(random: Random, data: bytes, other: bytes) -> bytes:
    at = int(random.integers(len(data)))
    return data[:at] + data[at + int(random.integers(1, 600)) :]


def zero_a_block(random: Random, data: bytes, other: bytes) -> bytes:
    at = int(random.integers(len(data)))
    block = data[at : at + int(random.choice([4, 64, 512]))]
    return data[:at] + bytes(len(block)) + data[at + len(block) :]


def overwrite_with_noise(random: Random, data: bytes, other: bytes) -> bytes:
    at = int(random.integers(len(data)))
    noise = random.bytes(int(random.integers(1, 200)))
    return data[:at] + noise + data[at + len(noise) :]


def insert_noise(random: Random, data: bytes, other: bytes) -> bytes:
    at = int(random.integers(len(data)))
    return data[:at] + random.bytes(int(random.integers(1, 40))) + data[at:]


def append(random: Random, data: bytes, other: bytes) -> bytes:
    return data + (random.bytes(int(random.integers(1, 3000))) if random.random() < 0.5 else other)


def splice(random: Random, data: bytes, other: bytes) -> bytes:
    return data[: int(random.integers(len(data)))] + other[int(random.integers(len(other))) :]


def change_a_length(random: Random, data: bytes, other: bytes) -> bytes:
    _, at, size, value, end = pick(random, data)
    length = end - value
    wrong = int(random.choice([0, 1, length - 1, length + 1, length + 2, 2 * length, 0xFFFE, 0x7FFFFFFF, 0xFFFFFFFF]))
    return data[:at] + (wrong % (1 << 8 * size)).to_bytes(size, "little") + data[at + size :]


def change_a_vr(random: Random, data: bytes, other: bytes) -> bytes:
    at = pick(random, data).start + 4
    return data[:at] + VRS[int(random.integers(len(VRS)))] + data[at + 2 :]


def change_a_tag(random: Random, data: bytes, other: bytes) -> bytes:
    at = pick(random, data).start
    donor = pick(random, data).start
    return data[:at] + data[donor : donor + 4] + data[at + 4 :]


def change_a_number(random: Random, data: bytes, other: bytes) -> bytes:
    found = [element for element in elements(data) if data[element.start + 4 : element.start + 6] in (b"US", b"SS")]
    if not found:
        return flip_header_bits(random, data, other)
    at = found[int(random.integers(len(found)))].value
    return data[:at] + NUMBERS[int(random.integers(len(NUMBERS)))].to_bytes(2, "little") + data[at + 2 :]


def change_a_text(random: Random, data: bytes, other: bytes) -> bytes:
    _, _, _, value, end = pick(random, data)
    if end - value > 64:
        return flip_header_bits(random, data, other)
    texts = [b"", b"0", b"-1", b"1e9", b"nan", b"inf", b"a\\b", b"\\", b"1\\2\\3", b"\xff\xfe", b"9" * 40, b"INVERSE"]
    text = texts[int(random.integers(len(texts)))][: end - value]
    return data[:value] + text.ljust(end - value, b" ") + data[end:]


def duplicate_an_element(random: Random, data: bytes, other: bytes) -> bytes:
    element, to = pick(random, data), pick(random, data).start
    return data[:to] + data[element.start : element.end] + data[to:]


def take_an_element_from_another_file(random: Random, data: bytes, other: bytes) -> bytes:
    element, to = pick(random, other), pick(random, data).start
    return data[:to] + other[element.start : element.end] + data[to:]


def delete_an_element(random: Random, data: bytes, other: bytes) -> bytes:
    element = pick(random, data)
    return data[: element.start] + data[element.end :]


def reorder_elements(random: Random, data: bytes, other: bytes) -> bytes:
    first, second = sorted((pick(random, data), pick(random, data)))
    if first.end > second.start:
        return data
    middle = data[first.end : second.start]
    swapped = data[second.start : second.end] + middle + data[first.start : first.end]
    return data[: first.start] + swapped + data[second.end :]


def nest_sequences(random: Random, data: bytes, other: bytes) -> bytes:
    at = pick(random, data).start
    depth = int(random.choice([1, 3, 30, 400, 3000]))
    tag = data[at : at + 4] if random.random() < 0.5 else b"\x28\x00\x10\x30"
    begin, end = tag + b"SQ\0\0" + UNDEFINED + ITEM + UNDEFINED, ITEM_END + bytes(4) + SEQUENCE_END + bytes(4)
    return data[:at] + begin * depth + end * (depth if random.random() < 0.7 else depth // 2) + data[at:]


def shuffle_fragments(random: Random, data: bytes, other: bytes) -> bytes:
    """Reorder, repeat or drop the items of encapsulated pixel data."""
    begin = data.rfind(b"\xe0\x7f\x10\x00OB\0\0" + UNDEFINED)
    if begin < 0:
        return zero_a_block(random, data, other)
    items, at = list[bytes](), begin + 12
    while data[at : at + 4] == ITEM:
        end = at + 8 + int.from_bytes(data[at + 4 : at + 8], "little")
        items.append(data[at:end])
        at = end
    if not items:
        return zero_a_block(random, data, other)
    chosen = [items[int(index)] for index in random.integers(0, len(items), int(random.integers(0, len(items) + 2)))]
    return data[: begin + 12] + b"".join(chosen) + data[at:]


def break_a_fragment(random: Random, data: bytes, other: bytes) -> bytes:
    """Split an item of the encapsulated pixel data in two, or change its length."""
    at = data.rfind(ITEM)
    if at < 0:
        return lose_a_block(random, data, other)
    length = int.from_bytes(data[at + 4 : at + 8], "little")
    if random.random() < 0.5:
        wrong = int(random.choice([0, 2, length - 2, length + 2, 0xFFFFFFFF]))
        return data[: at + 4] + (wrong % (1 << 32)).to_bytes(4, "little") + data[at + 8 :]
    first = int(random.integers(0, max(1, length // 2))) * 2
    value = data[at + 8 : at + 8 + length]
    parts = [ITEM + len(part).to_bytes(4, "little") + part for part in (value[:first], value[first:])]
    return data[:at] + b"".join(parts) + data[at + 8 + length :]


MUTATIONS: tuple[Callable[[Random, bytes, bytes], bytes], ...] = (
    *(flip_header_bits, flip_bits_anywhere, cut, lose_a_block, zero_a_block, overwrite_with_noise, insert_noise),
    *(append, splice, change_a_length, change_a_vr, change_a_tag, change_a_number, change_a_text),
    *(duplicate_an_element, take_an_element_from_another_file, delete_an_element, reorder_elements),
    *(nest_sequences, shuffle_fragments, break_a_fragment),
)


def mutate(seed: int, number: int, corpus: dict[str, bytes]) -> tuple[str, str, bytes]:
    """Return the name of the original file, the mutations, and the mutated bytes; the same for the same numbers."""
    random = np.random.default_rng([seed, number])
    names = sorted(corpus)
    name, other = (names[int(index)] for index in random.integers(0, len(names), 2))
    data, how = corpus[name], list[str]()
    for _ in range(1 if random.random() < 0.8 else 2):
        if len(data) < 16:
            break
        mutation = MUTATIONS[int(random.integers(len(MUTATIONS)))]
        data = mutation(random, data, corpus[other])
        how.append(mutation.__name__)
    return name, " and ".join(how), data
