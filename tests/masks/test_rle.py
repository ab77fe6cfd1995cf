import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco

from pneumo.masks import rle


def slow_decode(text, rows, columns):
    """Walk the pixels one by one, column after column."""
    mask = np.zeros((rows, columns), dtype=np.uint8)
    if text == "-1":
        return mask
    numbers = [int(word) for word in text.split(" ")]
    pixel = 0
    for gap, length in zip(numbers[::2], numbers[1::2], strict=True):
        pixel += gap
        for _ in range(length):
            mask[pixel % rows, pixel // rows] = 1
            pixel += 1
    return mask


def coco_encode(mask):
    """Return the text by way of COCO's run lengths, whose ``counts`` alternate between outside and inside."""
    rows, columns = mask.shape
    counts = coco_counts(coco.encode(np.asfortranarray(mask))["counts"])
    assert sum(counts) == rows * columns
    if len(counts) % 2:
        counts = counts[:-1]
    return " ".join(map(str, counts)) or "-1"


def coco_counts(packed):
    """Unpack COCO's compressed counts: six bits a character, differences to the count two places before."""
    counts, position = [], 0
    while position < len(packed):
        value, shift, more = 0, 0, True
        while more:
            bits = packed[position] - 48
            value |= (bits & 0x1F) << shift
            more = bool(bits & 0x20)
            position, shift = position + 1, shift + 5
            if not more and bits & 0x10:
                value |= -1 << shift
        counts.append(value + counts[-2] if len(counts) > 2 else value)
    return counts


@st.composite
def masks(draw, shape=None):
    """Draw masks of any shape from scattered pixels or rectangles, and the full, the empty and the last pixel."""
    rows, columns = shape or (draw(st.integers(1, 40)), draw(st.integers(1, 40)))
    kind = draw(st.sampled_from(["scattered", "rectangles", "full", "empty", "one", "last column"]))
    mask = np.zeros((rows, columns), dtype=np.uint8)
    if kind == "scattered":
        share = draw(st.sampled_from([0.02, 0.5, 0.98]))
        mask[np.random.default_rng(draw(st.integers(0, 2**32))).random((rows, columns)) < share] = 1
    elif kind == "rectangles":
        for _ in range(draw(st.integers(1, 4))):
            y, x = draw(st.integers(0, rows - 1)), draw(st.integers(0, columns - 1))
            mask[y : y + draw(st.integers(1, rows)), x : x + draw(st.integers(1, columns))] = 1
    elif kind == "full":
        mask[:] = 1
    elif kind == "one":
        mask[draw(st.integers(0, rows - 1)), draw(st.integers(0, columns - 1))] = 1
    elif kind == "last column":
        mask[draw(st.integers(0, rows - 1)) :, -1] = 1
    return mask


@st.composite
def several_masks(draw):
    """Draw one to five masks of one shape."""
    shape = (draw(st.integers(1, 25)), draw(st.integers(1, 25)))
    return draw(st.lists(masks(shape), min_size=1, max_size=5))


def painted(*rectangles, shape):
    mask = np.zeros(shape, dtype=np.uint8)
    for rows, columns in rectangles:
        mask[rows, columns] = 1
    return mask


REFERENCE = {
    "empty": (painted(shape=(3, 5)), "-1"),
    "full": (painted((slice(None), slice(None)), shape=(3, 5)), "0 15"),
    "first pixel": (painted((0, 0), shape=(3, 5)), "0 1"),
    "last pixel": (painted((2, 4), shape=(3, 5)), "14 1"),
    "second pixel runs down, not across": (painted((1, 0), shape=(3, 5)), "1 1"),
    "first row": (painted((0, slice(None)), shape=(3, 5)), "0 1 2 1 2 1 2 1 2 1"),
    "last row": (painted((2, slice(None)), shape=(3, 5)), "2 1 2 1 2 1 2 1 2 1"),
    "a run over the column's end": (painted((slice(2, 3), 1), (slice(0, 2), 2), shape=(3, 5)), "5 3"),
    "one column of a tall image": (painted((slice(1, 7), 0), shape=(9, 2)), "1 6"),
    "one pixel image": (painted((0, 0), shape=(1, 1)), "0 1"),
    "one row image": (painted((0, slice(1, 3)), shape=(1, 4)), "1 2"),
}


@pytest.mark.parametrize(("mask", "text"), REFERENCE.values(), ids=REFERENCE)
def test_reference_masks(mask, text):
    assert rle.encode(mask) == text
    np.testing.assert_array_equal(rle.decode(text, *mask.shape), mask)
    np.testing.assert_array_equal(slow_decode(text, *mask.shape), mask)


@given(masks())
@example(np.ones((7, 4), dtype=np.uint8))
@example(np.zeros((4, 7), dtype=np.uint8))
def test_encode_agrees_with_coco_and_decode_is_its_inverse(mask):
    text = rle.encode(mask)
    assert text == coco_encode(mask)
    decoded = rle.decode(text, *mask.shape)
    np.testing.assert_array_equal(decoded, mask)
    np.testing.assert_array_equal(slow_decode(text, *mask.shape), mask)
    assert decoded.dtype == np.uint8
    assert decoded.flags.c_contiguous


@given(masks(), st.integers(1, 4))
def test_columns_of_a_mask_are_those_that_it_touches(mask, align):
    first, columns = rle.decode_columns(rle.encode(mask), *mask.shape, align)
    touched = np.flatnonzero(mask.any(axis=0))
    assert columns.dtype == np.uint8
    assert columns.flags.c_contiguous
    if not touched.size:
        assert (first, columns.shape) == (0, (len(mask), 0))
        return
    assert (first, first + columns.shape[1]) == (touched[0] - touched[0] % align, touched[-1] + 1)
    np.testing.assert_array_equal(columns, mask[:, first : touched[-1] + 1])


@given(masks())
def test_encode_accepts_any_memory_order_and_any_nonzero_value(mask):
    text = rle.encode(mask)
    assert rle.encode(mask.astype(bool)) == text
    assert rle.encode(mask * np.uint8(255)) == text
    assert rle.encode(np.asfortranarray(mask)) == text
    assert rle.encode(np.repeat(mask, 2, axis=1)[:, ::2]) == text


@given(masks())
def test_runs(mask):
    text = rle.encode(mask)
    runs = rle.parse(text, mask.size)
    assert runs.dtype == np.int64
    assert runs.shape == (len(runs), 2)
    assert runs[:, 1].sum() == mask.sum()
    assert rle.format_runs(runs) == text
    flat = mask.ravel(order="F")
    assert all(flat[start : start + length].all() for start, length in runs)


@given(several_masks())
def test_union_is_the_or_of_the_pixels(drawn):
    texts = [rle.encode(mask) for mask in drawn]
    assert rle.union(texts) == rle.encode(np.bitwise_or.reduce(drawn))


@given(several_masks())
def test_intersection_is_the_and_of_the_pixels(drawn):
    first, second = drawn[0], drawn[-1]
    shared = rle.intersection(rle.parse(rle.encode(first)), rle.parse(rle.encode(second)))
    assert shared == (first & second).sum()


def test_a_full_size_xray_mask():
    y, x = np.mgrid[:1024, :1024]
    mask = ((x - 300) / 60) ** 2 + ((y - 300) / 200) ** 2 < 1
    text = rle.encode(mask)
    assert text == coco_encode(mask.astype(np.uint8))
    np.testing.assert_array_equal(rle.decode(text, 1024, 1024), mask)


UNIONS = {
    "nothing": ([], "-1"),
    "only empty": (["-1", "-1"], "-1"),
    "empty beside a mask": (["-1", "3 2"], "3 2"),
    "touching runs join": (["0 3", "3 2"], "0 5"),
    "touching runs of one text join": (["0 3 0 2"], "0 5"),
    "one inside the other": (["0 10", "2 3"], "0 10"),
    "overlap": (["4 4 2 1", "6 4"], "4 7"),
    "given in any order": (["9 1", "5 1", "1 1"], "1 1 3 1 3 1"),
    "the same twice": (["2 2 2 2", "2 2 2 2"], "2 2 2 2"),
}


@pytest.mark.parametrize(("texts", "expected"), UNIONS.values(), ids=UNIONS)
def test_union(texts, expected):
    assert rle.union(texts) == expected


@pytest.mark.parametrize("text", ["3 2 1 4", " 3 2 1 4", "3  2\t1 4 ", "3 2 1 4\n", "03 2 1 4"])
def test_white_space_and_leading_zeros_do_not_matter(text):
    assert rle.parse(text).tolist() == [[3, 2], [6, 4]]


@pytest.mark.parametrize("text", ["-1", " -1", "-1 "])
def test_minus_one_is_the_empty_mask(text):
    assert rle.parse(text, 1).shape == (0, 2)
    assert not rle.decode(text, 2, 3).any()


BAD = {
    "blank": ("", "an empty string; an empty mask is written -1"),
    "white space": ("  ", "an empty string"),
    "odd count": ("1 2 3", r"odd count of numbers \(3\)"),
    "word": ("1 2 nan 4", "^word 3 is not an integer"),
    "fraction": ("1.0 2", "^word 1 is not an integer"),
    "underscore": ("1_0 2", "is not an integer"),
    "digits of another script": ("\u0663 2", "is not an integer"),
    "separated otherwise": ("1,2", "is not an integer"),
    "a separator that is no white space": ("1\u00a02 3 4", "is not an integer"),
    "negative gap": ("1 2 -1 4", r"-1 \(word 3\) is negative"),
    "minus one before runs": ("-1 3 4", "-1 by itself is an empty mask"),
    "zero length": ("3 2 1 0 2 2", "run 2 has length 0"),
    "past the end": ("10 3", "ends at pixel 13, beyond the image's 12 pixels"),
    "starts past the end": ("12 1", "beyond the image's 12 pixels"),
    "too large for any integer": ("9" * 5000 + " 1", "beyond any image"),
}


@pytest.mark.parametrize(("text", "message"), BAD.values(), ids=BAD)
def test_errors_name_what_is_malformed(text, message):
    with pytest.raises(rle.RleError, match=message):
        rle.decode(text, 3, 4)


@pytest.mark.parametrize("text", ["9" * 18 + " 1", "1 " + "9" * 400, " ".join(["9" * 18] * 20), f"{2**63} {2**63}"])
def test_numbers_and_sums_beyond_int64_are_refused_without_an_image_too(text):
    with pytest.raises(rle.RleError, match="beyond any image"):
        rle.parse(text)


@given(st.text(alphabet="0123456789 -.\t\n\x1c\u00a0e+", max_size=30))
@settings(max_examples=300)
def test_no_string_raises_another_error(text):
    try:
        mask = rle.decode(text, 6, 7)
    except rle.RleError:
        return
    canonical = rle.union([text])
    np.testing.assert_array_equal(slow_decode(canonical, 6, 7), mask)
    assert rle.encode(mask) == canonical


def test_runs_out_of_order_are_a_programming_error():
    with pytest.raises(AssertionError, match="sorted"):
        rle.format_runs(np.array([[5, 2], [0, 1]]))
