from dataclasses import replace

import numpy as np
import pytest
from random_maps import Maps
from scipy.stats import binomtest

from pneumo.inference.bootstrap import interval
from pneumo.inference.decision_rule import DecisionRule
from pneumo.inference.errors_by_group import (
    OTHER_IMAGES,
    false_alarms,
    false_alarms_by_other_images,
    missed_lesions,
    rate,
)
from pneumo.inference.histograms import PredictionHistograms
from pneumo.inference.nested import NestedEstimate

RULE = DecisionRule(128, 0.0, 128)


def called(predicted: np.ndarray) -> NestedEstimate:
    n = len(predicted)
    return NestedEstimate(
        rule_index=np.zeros(n, np.int64), rules=(RULE,), final=RULE, dice=np.zeros(n), predicted_positive=predicted
    )


def of_patients(maps: Maps, positive: list[bool], patient: list[int]) -> PredictionHistograms:
    """Take images of which so many are positive, and give them other patients."""
    histograms = maps.histograms
    kinds = {True: np.flatnonzero(histograms.positive).tolist(), False: np.flatnonzero(~histograms.positive).tolist()}
    chosen = histograms.select(np.array([kinds[one].pop() for one in positive]))
    return replace(chosen, patient=np.array(patient, np.int32))


def test_false_alarms_are_counted_by_what_the_patient_s_other_images_have(maps: Maps) -> None:
    #            a patient with both kinds   negatives alone       one image each
    positive = [True, False, False, False, False, False, False, True]
    patient = [7, 7, 7, 3, 3, 5, -1, -1]
    alarm = np.array([True, True, False, False, True, False, True, False])
    found = false_alarms_by_other_images(of_patients(maps, positive, patient), called(alarm))
    assert list(found) == list(OTHER_IMAGES)
    assert [(one.count, one.images, one.patients) for one in found.values()] == [(1, 2, 1), (1, 2, 1), (1, 2, 2)]
    assert [one.share for one in found.values()] == [0.5, 0.5, 0.5]


def test_a_group_without_an_image_is_left_out(maps: Maps) -> None:
    found = false_alarms_by_other_images(of_patients(maps, [False, False], [1, 2]), called(np.array([True, False])))
    assert list(found) == [OTHER_IMAGES[2]]


def test_misses_and_false_alarms_are_of_their_own_kind_of_image(maps: Maps) -> None:
    histograms = of_patients(maps, [True, True, True, False, False], [0, 0, 1, 1, 2])
    nested = called(np.array([True, False, False, True, False]))
    missed, alarms = missed_lesions(histograms, nested), false_alarms(histograms, nested)
    assert missed is not None
    assert alarms is not None
    assert (missed.count, missed.images, missed.patients) == (2, 3, 2)
    assert (alarms.count, alarms.images, alarms.patients) == (1, 2, 2)
    assert missed.interval == interval(np.array([0.0, 1.0, 1.0]), np.array([0, 0, 1]))


def test_of_no_image_there_is_no_rate(maps: Maps) -> None:
    assert rate(np.zeros(0, np.bool_), np.zeros(0, np.int64)) is None
    histograms = of_patients(maps, [True, True], [0, 1])
    assert false_alarms(histograms, called(np.array([True, True]))) is None
    assert missed_lesions(histograms, called(np.array([True, True]))).share == pytest.approx(0)  # type: ignore[union-attr]


@pytest.mark.parametrize("patients", [1, 5, 36])
def test_a_share_of_none_or_of_all_has_the_exact_interval_of_as_many_patients(patients: int) -> None:
    """The bootstrap's would be 0 to 0, and 1 to 1."""
    of_images = np.repeat(np.arange(patients), 2)
    for happens in (False, True):
        found = rate(np.full(2 * patients, happens), of_images)
        assert found is not None
        exact = binomtest(patients * happens, patients).proportion_ci(method="exact")
        assert found.interval == pytest.approx((exact.low, exact.high), abs=1e-12)
