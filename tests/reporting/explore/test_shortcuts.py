"""How well attributes tell the label: the area under the curve, and what chance gives, also by patients."""

import math

import numpy as np
import pytest
from explore_data import make_table
from sklearn.metrics import roc_auc_score

from pneumo.reporting.explore import shortcuts
from pneumo.reporting.explore.groups import MAX_GROUPS
from pneumo.reporting.explore.shortcuts import SHUFFLES, area, find, shuffle


def area_by(group: np.ndarray, positive: np.ndarray) -> float:
    names, group = np.unique(group, return_inverse=True)
    return area(np.bincount(group), np.bincount(group[positive], minlength=len(names)))


def test_the_area_is_that_of_scoring_each_image_by_its_groups_rate() -> None:
    rng = np.random.default_rng(0)
    group = rng.integers(0, 3, 600)
    positive = rng.random(600) < np.array([0.6, 0.3, 0.1])[group]
    rate = np.array([positive[group == one].mean() for one in range(3)])
    assert area_by(group, positive) == pytest.approx(roc_auc_score(positive, rate[group]))


def test_the_area_is_one_when_the_group_tells_all_and_a_half_when_it_tells_nothing() -> None:
    assert area(np.array([50, 50]), np.array([50, 0])) == 1
    assert area(np.array([50, 500, 7]), np.array([5, 50, 0])) > 0.5
    assert area(np.array([50, 500]), np.array([5, 50])) == 0.5
    assert math.isnan(area(np.array([50]), np.array([0])))
    assert math.isnan(area(np.array([], np.int64), np.array([], np.int64)))


def test_labels_of_single_images_are_permuted() -> None:
    positive = np.arange(400) % 4 == 0
    patients = np.random.default_rng(1).permutation(400)
    shuffled = shuffle(positive, patients)
    assert shuffled.shape == (SHUFFLES, 400)
    assert set(shuffled.sum(axis=1).tolist()) == {100}
    assert shuffled.mean(axis=0).min() > 0, "every image has either label"
    assert np.array_equal(shuffled, shuffle(positive, patients))


def test_labels_of_a_patient_stay_together() -> None:
    patients = np.tile(np.arange(100), 5)
    positive = patients < 30
    for one in shuffle(positive, patients):
        assert one.sum() == 150
        assert all(len(set(one[patients == patient].tolist())) == 1 for patient in range(100))


@pytest.mark.parametrize("several", [False, True], ids=["an image each", "patients with several"])
def test_an_attribute_that_tells_nothing_is_rarely_above_chance(several: bool) -> None:
    rng = np.random.default_rng(2)
    higher = []
    for _ in range(80):
        sizes = rng.geometric(0.25, 300) if several else np.ones(300, int)
        patients = np.repeat(np.arange(300), sizes)[:300]
        positive = rng.random(300) < rng.beta(0.6, 2.1, 300)[patients]
        group = rng.integers(0, 9, 300)[patients]
        chance = [area_by(group, one) for one in shuffle(positive, patients)]
        higher.append(np.mean(np.array(chance) < area_by(group, positive)))
    assert 0.35 < np.mean(higher) < 0.6, "its place among the shuffles is any"
    assert np.mean(np.array(higher) > 0.95) < 0.15, "shuffled image by image, every second one would be beyond 95 %"


def test_an_attribute_that_tells_the_label_is_above_chance_and_others_are_not() -> None:
    positive = [i % 3 == 0 for i in range(300)]
    view = ["AP" if one or i % 5 == 0 else "PA" for i, one in enumerate(positive)]
    found = {one.attribute: one for one in find(make_table(300, positive=positive, view=view, sex=["F", "M"] * 150))}
    assert found["View"].auc == pytest.approx(1 - 40 / 200 / 2)
    assert 0.5 < found["View"].chance < 0.65
    assert found["Sex"].auc <= found["Sex"].chance
    assert (found["Modality"].auc, found["Modality"].chance) == (0.5, 0.5), "all of one group"


def test_the_area_is_that_of_the_groups_that_are_shown() -> None:
    rng = np.random.default_rng(0)
    table = make_table(
        1300, positive=(rng.random(1300) < 0.2).tolist(), rows=(100 + rng.integers(0, 40, 1300)).tolist()
    )
    (size,) = [one for one in find(table) if one.attribute == "Image size"]
    assert len(size.rates) == MAX_GROUPS
    images, positives = (np.array([getattr(one, name) for one in size.rates]) for name in ("images", "positives"))
    assert size.auc == area(images, positives) < size.chance


def test_a_split_alone_has_groups_too() -> None:
    labels = find(make_table(3, positive=True, view=["PA", "PA", "AP"]))
    tests = find(make_table(3, split="test", fold=-1, view=["PA", "PA", ""]))
    for found in (labels, tests, find(make_table(0))):
        assert all(math.isnan(one.auc) and math.isnan(one.chance) for one in found)
    view, modality = (next(one for one in tests if one.attribute == name) for name in ("View", "Presentation"))
    assert (list(view.rates), dict(view.tested)) == ([], {"PA": 2, "unknown": 1})
    assert view.known
    assert not modality.known


def test_few_positive_images_of_patients_with_many_have_a_chance() -> None:
    table = make_table(40, positive=[True, *[False] * 39], patient=[i // 8 for i in range(40)], sex=["F", "M"] * 20)
    (sex,) = [one for one in shortcuts.find(table) if one.attribute == "Sex"]
    assert 0.5 <= sex.chance <= 1
