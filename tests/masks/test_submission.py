import pytest
from hypothesis import given
from hypothesis import strategies as st

from pneumo.masks import rle, submission
from pneumo.runtime.errors import UserError

SHAPES = {"a": (3, 4), "b": (4, 3), "c": (1, 1)}
ROWS = [("b", "0 2 3 7"), ("a", "-1"), ("c", "0 1")]


def test_what_is_written_is_read_back_in_order(tmp_path):
    path = tmp_path / "new" / "submission.csv"
    submission.write(path, ROWS, SHAPES)
    assert path.read_bytes() == b"ImageId,EncodedPixels\nb,0 2 3 7\na,-1\nc,0 1\n"
    assert list(submission.read(path).items()) == ROWS
    assert [entry.name for entry in path.parent.iterdir()] == ["submission.csv"]


def test_ids_with_commas_and_quotes_survive(tmp_path):
    rows = [('a,"b"', "-1"), ("plain.png", "0 1")]
    submission.write(tmp_path / "s.csv", rows, {"plain.png": (2, 2), 'a,"b"': (2, 2)})
    assert list(submission.read(tmp_path / "s.csv").items()) == rows


def test_a_wrong_submission_leaves_the_old_one(tmp_path):
    path = tmp_path / "submission.csv"
    path.write_text("old")
    with pytest.raises(UserError, match="missing"):
        submission.write(path, ROWS[:2], SHAPES)
    assert path.read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("image_id", ["=1+1", "@a", "a;=b", "a\nb", "", "x" * 300])
def test_an_id_that_a_spreadsheet_would_run_is_not_written(tmp_path, image_id):
    with pytest.raises(UserError, match="the submission's image id"):
        submission.write(tmp_path / "s.csv", [(image_id, "-1")], {image_id: (2, 2)})
    assert not list(tmp_path.iterdir())


def test_expected_may_repeat_ids_and_hold_images_of_unknown_size_that_are_empty():
    submission.validate([*ROWS, ("d", "-1")], ["a", "a", "b", "d", "c"], SHAPES)


DIFFERENCES = {
    "missing": (ROWS[:1], r"missing in the submission: 2 \(a, c\)"),
    "not expected": ([*ROWS, ("x", "-1")], r"not expected in the submission: 1 \(x\)"),
    "twice": ([*ROWS, ("a", "-1")], r"more than once in the submission: 1 \(a\)"),
    "many at fault": ([*ROWS, *((str(i), "-1") for i in range(5))], r"5 \(0, 1, 2, \.\.\.\)"),
    "nothing at all": ([], r"missing in the submission: 3"),
    "beyond the image": ([("b", "0 2 3 8"), *ROWS[1:]], "mask of image b is wrong: .* pixel 13, beyond"),
    "one pixel too many": ([*ROWS[:2], ("c", "0 2")], "image c .* beyond the image's 1 pixels"),
    "touching runs": ([("b", "0 2 0 3"), *ROWS[1:]], "image b .* the runs touch"),
    "double space": ([("b", "0  2"), *ROWS[1:]], "image b .* single spaces"),
    "leading space": ([ROWS[0], ("a", " -1"), ROWS[2]], "image a .* single spaces"),
    "blank": ([ROWS[0], ("a", ""), ROWS[2]], "image a is wrong: an empty string"),
    "no numbers": ([ROWS[0], ("a", "nan"), ROWS[2]], "not an integer"),
    "formula": ([*ROWS, ("=1+1", "-1")], "not expected"),
    "zero length": ([("b", "3 0"), *ROWS[1:]], "length 0"),
}


@pytest.mark.parametrize(("rows", "message"), DIFFERENCES.values(), ids=DIFFERENCES)
def test_validate_names_the_difference(rows, message):
    with pytest.raises(UserError, match=message):
        submission.validate(rows, ["a", "b", "c"], SHAPES)


def test_a_mask_for_an_image_of_unknown_size_is_refused():
    with pytest.raises(UserError, match=r"image d .* size is unknown"):
        submission.validate([("d", "0 1")], ["d"], {})


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4)), max_size=5))
def test_validate_accepts_exactly_what_encode_writes(pairs):
    text = " ".join(f"{gap} {length}" for gap, length in pairs) or "-1"
    try:
        canonical = rle.encode(rle.decode(text, 5, 4)) == text
    except rle.RleError:
        canonical = False
    if canonical:
        submission.validate([("a", text)], ["a"], {"a": (5, 4)})
    else:
        with pytest.raises(UserError):
            submission.validate([("a", text)], ["a"], {"a": (5, 4)})


def test_read_requires_one_row_for_each_image(tmp_path):
    path = tmp_path / "s.csv"
    path.write_text("ImageId,EncodedPixels\na,-1\nb,0 1\na,-1\n")
    with pytest.raises(UserError, match="line 4: a second row for image a"):
        submission.read(path)
    path.write_text("ImageId,EncodedPixels\na,-1\nb,0 1 2\n")
    with pytest.raises(UserError, match="line 3: the mask of image b is malformed"):
        submission.read(path)


def test_rows_follow_the_expected_ids_and_differences_are_warned_of() -> None:
    warnings: list[str] = []
    rows = submission.order_rows({"a": "1 2", "b": "-1", "x": "3 1"}, ["b", "c", "a"], warnings.append)
    assert rows == [("b", "-1"), ("c", "-1"), ("a", "1 2")]
    assert warnings == [
        "expected ids that have no image and get an empty mask: 1 (c)",
        "not expected and left out of the submission: 1 test image",
    ]


def test_ids_of_another_stage_are_refused() -> None:
    with pytest.raises(UserError, match="none of 2 expected ids is among 1 test image"):
        submission.order_rows({"a": "-1"}, ["p", "q"], print)


def test_expected_ids_come_back_as_they_are_spelled(tmp_path):
    masks, shapes = {"a": "0 2", "b": "-1"}, {"a": (4, 4), "b": (4, 4)}
    warnings: list[str] = []
    rows = submission.order_rows(masks, ["b.png", "a.dcm", "c.dcm"], warnings.append)
    assert rows == [("b.png", "-1"), ("a.dcm", "0 2"), ("c.dcm", "-1")]
    assert warnings == ["expected ids that have no image and get an empty mask: 1 (c.dcm)"]
    submission.write(tmp_path / "s.csv", rows, shapes, expected=["b.png", "a.dcm", "c.dcm"])
    assert (tmp_path / "s.csv").read_text() == "ImageId,EncodedPixels\nb.png,-1\na.dcm,0 2\nc.dcm,-1\n"
