import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pneumo.masks import metric, rle
from pneumo.runtime.errors import UserError

DICE = {
    "both empty": ("-1", "-1", 1.0),
    "pixels on a negative image": ("-1", "5 1", 0.0),
    "nothing on a positive one": ("5 1", "-1", 0.0),
    "equal": ("5 3 2 1", "5 3 2 1", 1.0),
    "apart": ("0 3", "3 3", 0.0),
    "half": ("0 4", "2 4", 0.5),
    "inside": ("2 2", "0 10", 2 * 2 / 12),
    "one run over several": ("0 2 2 2 2 2", "1 8", 2 * 4 / 14),
    "touching runs": ("0 4", "2 1 0 3", 0.5),
}


def area(text: str) -> int:
    return int(rle.decode(text, 5, 6).sum())


@pytest.mark.parametrize(("truth", "predicted", "dice"), DICE.values(), ids=DICE)
def test_dice_of_one_image(truth, predicted, dice):
    scores = metric.score({"a": truth}, {"a": predicted})
    assert scores.image_id == ("a",)
    assert scores.dice.tolist() == pytest.approx([dice])
    assert (scores.truth_area.tolist(), scores.predicted_area.tolist()) == ([area(truth)], [area(predicted)])
    mirrored = metric.score({"a": predicted}, {"a": truth})
    assert mirrored.dice.tolist() == scores.dice.tolist()


@given(st.integers(0, 2**32), st.integers(1, 20), st.integers(1, 20), st.floats(0, 1), st.floats(0, 1))
def test_dice_agrees_with_the_pixels(seed, rows, columns, truth_fraction, predicted_fraction):
    random = np.random.default_rng(seed)
    truth = random.random((rows, columns)) < truth_fraction
    predicted = random.random((rows, columns)) < predicted_fraction
    total = truth.sum() + predicted.sum()
    expected = 2 * (truth & predicted).sum() / total if total else 1.0
    scores = metric.score({"a": rle.encode(truth)}, {"a": rle.encode(predicted)})
    assert scores.dice.tolist() == pytest.approx([expected], abs=1e-15)
    assert (scores.truth_area.tolist(), scores.predicted_area.tolist()) == ([truth.sum()], [predicted.sum()])


def test_summary():
    truth = {"a": "-1", "b": "-1", "c": "-1", "d": "-1", "e": "0 4", "f": "0 4", "g": "0 4"}
    predicted = {"a": "-1", "b": "-1", "c": "-1", "d": "0 1", "e": "0 4", "f": "2 4", "g": "-1"}
    summary = metric.score(truth, predicted).summarize()
    assert summary.dice == pytest.approx((3 + 1 + 0.5) / 7)
    assert summary.dice_empty == pytest.approx(3 / 4)
    assert summary.dice_positive == pytest.approx(1.5 / 3)
    assert summary.sensitivity == pytest.approx(2 / 3)
    assert summary.specificity == pytest.approx(3 / 4)
    assert (summary.images, summary.positives) == (7, 3)
    assert summary.dice_all_empty == pytest.approx(4 / 7)


def test_one_pixel_makes_an_image_positive():
    summary = metric.score({"a": "0 1"}, {"a": "0 1"}).summarize()
    assert (summary.positives, summary.sensitivity, summary.specificity) == (1, 1, None)


def test_summary_of_a_case_done_by_hand():
    positive = np.array([True, True, False, False])
    found = metric.summarize(positive, np.array([0.5, 0.0, 1.0, 0.0]), np.array([True, False, False, True]))
    assert found == metric.Summary(
        dice=0.375, dice_empty=0.5, dice_positive=0.25, sensitivity=0.5, specificity=0.5, images=4, positives=2
    )


def test_a_part_without_images_has_no_score():
    negative = metric.score({"a": "-1"}, {"a": "-1"}).summarize()
    assert (negative.dice, negative.dice_empty, negative.dice_all_empty) == (1, 1, 1)
    assert negative.dice_positive is None
    assert negative.sensitivity is None
    nothing = metric.score({}, {}).summarize()
    assert nothing.dice is None
    assert nothing.dice_all_empty is None


TRUTH = {"a": "0 1", "b": "-1", "c": "0 2"}


def test_align_orders_by_the_truth():
    truth, predicted = metric.align(TRUTH, {"c": "-1", "a": "0 1", "b": "0 3"})
    assert list(truth.items()) == list(TRUTH.items())
    assert list(predicted.items()) == [("a", "0 1"), ("b", "0 3"), ("c", "-1")]


def test_align_by_default_refuses_differences():
    with pytest.raises(UserError, match=r"without a prediction: 1 \(b\); .* without a truth: 2 \(x, y\)"):
        metric.align(TRUTH, {"a": "-1", "c": "-1", "x": "-1", "y": "-1"})
    with pytest.raises(UserError, match=r"without a prediction: none; .* without a truth: 1 \(x\)"):
        metric.align(TRUTH, {**TRUTH, "x": "-1"})


def test_align_can_take_missing_predictions_as_empty_or_leave_them_out():
    predicted = {"a": "0 1", "c": "0 2", "x": "0 3"}
    assert metric.align(TRUTH, predicted, "empty")[1] == {"a": "0 1", "b": "-1", "c": "0 2"}
    truth, kept = metric.align(TRUTH, predicted, "ignore")
    assert truth == kept == {"a": "0 1", "c": "0 2"}


@pytest.mark.parametrize("missing", ["error", "empty", "ignore"])
def test_files_without_a_common_image_are_always_refused(missing):
    with pytest.raises(UserError, match=r"no image in common: truth 3 \(a, b, c\); submission 1 \(x\)"):
        metric.align(TRUTH, {"x": "-1"}, missing)
