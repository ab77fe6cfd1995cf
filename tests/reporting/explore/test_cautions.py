"""Cautions: each one for a dataset that has the fault, and none for one that has not."""

from typing import Any

import numpy as np
import pytest
from explore_data import make_analysis, make_table, square

from pneumo.reporting.explore import cautions, lesions
from pneumo.reporting.explore.duplicates import Pair
from pneumo.reporting.explore.scan import ScannedImage

NUMBER = 400
POSITIVE = [i % 4 == 0 for i in range(NUMBER)]
GOOD: dict[str, Any] = {
    "positive": POSITIVE,
    "mask_area": [100 * one for one in POSITIVE],
    "patient": [i // 2 for i in range(NUMBER)],
    "fold": [i // 4 % 2 for i in range(NUMBER)],
    "view": ["PA" if i // 8 % 2 else "AP" for i in range(NUMBER)],
}

SPLIT = ["train"] * (NUMBER - 1) + ["test"]


def find(
    scanned: list[ScannedImage] | None = None, pairs: list[Pair] | None = None, manifest: Any = None, **columns: Any
):
    table = make_table(NUMBER, **(GOOD | columns))
    if scanned is None:
        # Positive images are every fourth: both sides in turn, the same places many times.
        scanned = [
            ScannedImage(lesions=square(x=0.25 + 0.5 * (i % 8 == 0), y=0.3) if one else None)
            for i, one in enumerate(table.positive)
        ]
    return [
        f"{one.found} {one.action}"
        for one in cautions.find(make_analysis(table, scanned, pairs or [], **manifest or {}))
    ]


def pair(**where: bool) -> Pair:
    flags = dict.fromkeys(("same_patient", "across_splits", "across_folds", "across_labels"), False)
    return Pair(first=0, second=1, kind="similar", distance=3, **(flags | where))


def test_a_good_dataset_has_none() -> None:
    assert find() == []


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"positive": False}, "No labeled image has a pneumothorax."),
        ({"positive": True}, "Every labeled image has a pneumothorax."),
        ({"split": "test", "fold": -1, "positive": False}, "No image has a label."),
        ({"patient": -1}, "It is not known which images are of one patient."),
        ({"patient": [-1, *range(1, NUMBER)]}, "1 labeled image of unknown patients."),
        ({"patient": [i % 4 for i in range(NUMBER)]}, "4 patients have images in more than one fold."),
        (
            {"split": SPLIT, "fold": [*GOOD["fold"][:-1], -1], "positive": [*POSITIVE[:-1], False]},
            "1 test image is of 1 patient with training images.",
        ),
        (
            {"view": ["AP" if one else "PA" for one in POSITIVE]},
            "View alone tells who has a pneumothorax with an area under the ROC curve of 1.00; shuffled labels give at",
        ),
        (
            {"sex": ["M" if i % 8 == 1 else "F" for i in range(NUMBER)]},
            "Sex male: 0.0 % of 50 images have a pneumothorax, of all images 25.0 %.",
        ),
        ({"age_years": [-1, *[50] * (NUMBER - 1)]}, "1 image without an age: it is missing, or implausible, over 120"),
        ({"age_years": [0, 0, *[50] * (NUMBER - 2)]}, "2 images of patients of 0 years."),
        ({"fold": [0 if one else i // 4 % 2 for i, one in enumerate(POSITIVE)], "patient": -1}, "In fold 0 "),
    ],
)  # fmt: skip
def test_a_fault_of_the_table_is_found(columns: dict[str, Any], message: str) -> None:
    assert any(line.startswith(message) for line in find(**columns)), find(**columns)


def rates_of(positives: int, images: int) -> list[str]:
    """What is found when so many of so many images of men, and the other positive ones of women, have the label."""
    men = [i for i, one in enumerate(POSITIVE) if one][:positives]
    men += [i for i, one in enumerate(POSITIVE) if not one][: images - positives]
    return [line for line in find(sex=["M" if i in set(men) else "F" for i in range(NUMBER)]) if "Sex" in line]


@pytest.mark.parametrize(
    ("positives", "images"),
    [
        # Of all images 25 % are positive: twice are 50 %, half are 12.5 %. Wilson's interval of 70 of 200 is 28.7 to
        # 41.8 %, and of the other 30 of 200 it is 10.7 to 20.6 %.
        (70, 200),
        # 48 to 80 %, and 14.5 to 22.2 %.
        (20, 30),
        # 3.5 to 25.6 %, and 21.8 to 31 %.
        (3, 30),
    ],
)
def test_a_group_of_up_to_twice_and_down_to_half_the_rate_is_no_caution(positives: int, images: int) -> None:
    assert rates_of(positives, images) == []


@pytest.mark.parametrize(
    ("positives", "images", "rate"),
    [
        (30, 40, "75.0"),  # 59.8 to 85.8 %
        (2, 60, "3.3"),  # 0.9 to 11.4 %
    ],
)
def test_a_group_of_more_than_twice_or_less_than_half_the_rate_is_one(positives: int, images: int, rate: str) -> None:
    (found,) = rates_of(positives, images)
    assert found.startswith(f"Sex male: {rate} % of {images} images have a pneumothorax, of all images 25.0 %.")


def test_attributes_of_few_images_that_tell_no_more_than_by_chance_are_no_caution() -> None:
    """300 images in 9 groups have an area of .60 on the average, and above .65 in 1 of 30 datasets."""
    rng = np.random.default_rng(0)
    high = 0
    for _ in range(40):
        rows = (100 + rng.integers(0, 9, 120)).tolist()
        table = make_table(120, positive=(rng.random(120) < 0.2).tolist(), rows=rows, patient=range(120))
        analysis = make_analysis(table)
        high += any(one.auc >= cautions.HIGH_AUC for one in analysis.groupings)
        assert not [one for one in cautions.find(analysis) if " alone tells " in one.found]
    assert high > 10


def test_folds_that_differ_by_chance_are_rarely_a_caution() -> None:
    """Of 2 folds of 5, one is beyond its own 95 % interval, but not beyond one of 99 %."""
    fold = [i // 80 for i in range(400)]
    positives = {0: 29, 1: 18, 2: 18, 3: 18, 4: 17}
    positive = [i % 80 < positives[i // 80] for i in range(400)]
    columns = {"fold": fold, "positive": positive, "patient": -1}
    assert not any(line.startswith("In fold") for line in find(**columns))
    positives[0], positives[1] = 40, 7
    positive = [i % 80 < positives[i // 80] for i in range(400)]
    found = [line for line in find(**(columns | {"positive": positive})) if line.startswith("In fold")]
    assert [line[:9] for line in found] == ["In fold 0", "In fold 1"]


@pytest.mark.parametrize(
    ("manifest", "columns", "message"),
    [
        ({"grouped_by": "none"}, {}, "It is not known which images are of one patient."),
        ({"grouped_by": "dicom"}, {"patient": range(NUMBER)}, "Every image has a PatientID of its own."),
        ({"quarantined": 40, "found": NUMBER + 40}, {}, "40 of 440 files (9.1 %) are quarantined."),
        ({"missing": 3}, {}, "3 images of the masks CSV without a file."),
    ],
)
def test_a_fault_of_the_build_is_found(manifest: dict[str, Any], columns: dict[str, Any], message: str) -> None:
    found = find(manifest=manifest, **columns)
    assert any(line.startswith(message) for line in found), found


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("across_labels", "1 pair of duplicates labeled with and without a pneumothorax."),
        ("across_folds", "1 pair of duplicates in two folds."),
        ("across_splits", "1 pair of duplicates of a training and a test image."),
    ],
)
def test_a_duplicate_where_it_misleads_is_found(where: str, message: str) -> None:
    (found,) = find(pairs=[pair(), pair(**{where: True})])
    assert found.startswith(message)


def test_damaged_samples_are_named() -> None:
    scanned = [ScannedImage(damage="the mask is bad") for _ in range(2)] + [ScannedImage()] * (NUMBER - 2)
    assert any(
        line.startswith("Damaged samples: 2 (image.0, image.1); the first one: the mask is bad.")
        for line in find(scanned)
    )


def test_masks_in_unusual_places_too_large_or_on_one_side_are_found() -> None:
    usual = square(x=0.25)
    rows = [i for i, one in enumerate(POSITIVE) if one]
    assert len(rows) > lesions.MIN_MASKS
    scanned = [ScannedImage(lesions=usual if one else None) for one in POSITIVE]
    scanned[rows[3]] = ScannedImage(lesions=square(x=0.2, y=0.9))
    scanned[rows[5]] = ScannedImage(lesions=lesions.measure(np.ones((10, 10), np.uint8)))
    found = find(scanned)
    assert any(line.startswith(f"Masks of more than 25 % of the image: 1 (image.{rows[5]})") for line in found)
    assert any("of the lesions are on the left side of the picture." in line for line in found)
    scanned[rows[5]] = ScannedImage(lesions=usual)
    assert any(
        line.startswith(f"Masks of which more than half is where hardly another one is: 1 (image.{rows[3]})")
        for line in find(scanned)
    )


def test_adults_that_are_too_small_by_their_pixel_spacing() -> None:
    spacing = [1.4] * 10 + [1.9] * 10 + [3.5] * (NUMBER - 20)
    (found,) = find(row_spacing_mm=spacing, column_spacing_mm=1.0, age_years=[50] * 15 + [5] * (NUMBER - 15))
    # Those of five children have the size of other adults'.
    assert found.startswith("By their pixel spacing 20 images would be 14 to 19 cm high, too small for the chests of ")
    assert "areas in cm\u00b2 and mm\u00b2 are left out, here and in predictions." in found
