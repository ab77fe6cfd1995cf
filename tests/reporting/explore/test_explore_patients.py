"""Patients with several images, in two folds, in both splits."""

from explore_data import make_table

from pneumo.reporting.explore import patients


def test_patients_are_counted_where_they_are() -> None:
    table = make_table(
        9,
        split=["train"] * 6 + ["test"] * 3,
        patient=[0, 0, 1, 1, 2, -1, 2, 2, -1],
        fold=[0, 0, 0, 1, 1, 1, -1, -1, -1],
        positive=[True, False, True, True, True, False, False, False, False],
    )
    found = patients.count(table)
    assert found.images.tolist() == [2, 2, 3]
    assert (found.several, found.mixed, found.unknown) == (3, 1, 1)
    assert (found.across_folds, found.across_splits, found.shared_test) == (1, 1, 2)


def test_no_patient_may_be_known_and_no_image_be_there() -> None:
    for table in (make_table(3), make_table(0)):
        found = patients.count(table)
        assert found.several == found.across_folds == found.across_splits == len(found.images) == 0
        assert found.unknown == len(table)
