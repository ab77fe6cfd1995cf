import itertools

import numpy as np
import numpy.typing as npt
import pytest
from random_maps import Maps, draw_maps

from pneumo.inference import bootstrap
from pneumo.inference.evaluation import compute_metrics
from pneumo.inference.metrics import Auc
from pneumo.inference.paired import RunPredictions, score_variants

PATIENTS = 12


def draw_runs(seeds: int = 1, *, images: int = 24, better: float = 0.0, seed: int = 0) -> list[RunPredictions]:
    """Draw predictions of a run for each seed; with the same number of images the truths are the same."""
    positive = np.arange(images) % 3 == 0
    rng, runs = np.random.default_rng(seed), []
    for _ in range(seeds):
        correct = rng.random(images) < 0.7 + better
        score = np.round(np.clip(rng.normal(0.4 + 0.2 * positive, 0.2), 0, 1), 1)
        runs.append(
            RunPredictions(
                image_id=np.array([f"i{n}" for n in range(images)]),
                fold=(np.arange(images) % 2).astype(np.int16),
                patient=np.arange(images) * 7 % PATIENTS,
                positive=positive,
                dice=np.where(correct, np.where(positive, rng.random(images), 1.0), 0.0),
                correct=correct,
                presence={"max_pixel": score},
                auc=Auc(presence_head=None, max_pixel=plain_auc(list(zip(positive, score, strict=True)))),
                min_component=0.0,
            )
        )
    return runs


def plain_auc(images: list[tuple[bool, float]]) -> float:
    """Return how often a positive image has the higher score of a pair, ties for a half."""
    wins = [
        (one > other) + (one == other) / 2
        for (is_positive, one), (is_other, other) in itertools.product(images, images)
        if is_positive and not is_other
    ]
    return float(sum(wins)) / len(wins) if wins else float("nan")


def resampled(patient: npt.NDArray[np.int64], images: npt.NDArray[np.int64]) -> list[list[int]]:
    """Draw as many of the images' patients as there are, again and again; return the images of each resample."""
    patients = sorted(set(patient[images].tolist()))
    of = [[int(i) for i in images if patient[i] == one] for one in patients]
    rng, drawn = np.random.default_rng(0), []
    for _ in range(bootstrap.RESAMPLES // bootstrap.BLOCK):
        drawn += rng.integers(len(patients), size=(bootstrap.BLOCK, len(patients))).tolist()
    return [[i for number in numbers for i in of[number]] for numbers in drawn]


@pytest.mark.parametrize("seeds", [1, 2])
def test_differences_are_those_of_a_plain_loop_over_resampled_patients(seeds: int) -> None:
    first, other = draw_runs(seeds), draw_runs(seeds, better=0.2, seed=1)
    positive, patient = first[0].positive, first[0].patient
    every = np.arange(len(positive))
    found = score_variants([first, other])[1]
    for name, among in (
        ("dice", every),
        ("dice_positive", every[positive]),
        ("sensitivity", every[positive]),
        ("specificity", every[~positive]),
    ):
        field = "dice" if name.startswith("dice") else "correct"
        gains = [
            sum(float(getattr(run, field)[i]) for run in other) / seeds
            - sum(float(getattr(run, field)[i]) for run in first) / seeds
            for i in every
        ]
        means = [sum(gains[i] for i in images) / len(images) for images in resampled(patient, among)]
        difference = found[name].difference
        assert difference is not None
        assert difference.value == pytest.approx(sum(gains[i] for i in among) / len(among))
        assert difference.interval == pytest.approx(tuple(np.quantile(means, [0.025, 0.975])))
        assert difference.standard_error == pytest.approx(np.std(means))
        assert difference.detectable == pytest.approx(2.8016 * np.std(means), rel=1e-4)
    over_empty, dice = found["dice_over_empty"].difference, found["dice"].difference
    assert over_empty is not None
    assert dice is not None
    assert (over_empty.value, *over_empty.interval) == pytest.approx((dice.value, *dice.interval))


def test_differences_of_areas_are_those_of_a_plain_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pneumo.inference.presence_curves.RESAMPLES", 200)
    monkeypatch.setattr(bootstrap, "RESAMPLES", 200)
    first, other = draw_runs(2), draw_runs(2, seed=1)
    positive, patient = first[0].positive, first[0].patient

    def area(runs: list[RunPredictions], images: list[int]) -> float:
        return sum(plain_auc([(positive[i], run.presence["max_pixel"][i]) for i in images]) for run in runs) / 2

    areas = [[area(runs, images) for runs in (first, other)] for images in resampled(patient, np.arange(24))]
    before, after = np.array(areas).T
    scores = score_variants([first, other])
    assert scores[0]["auc_max_pixel"].difference is None
    found = scores[1]["auc_max_pixel"]
    assert found.value == pytest.approx(area(other, list(range(24))))
    assert found.interval == pytest.approx(tuple(np.quantile(after, [0.025, 0.975])))
    assert found.difference is not None
    assert found.difference.value == pytest.approx(area(other, list(range(24))) - area(first, list(range(24))))
    assert found.difference.interval == pytest.approx(tuple(np.quantile(after - before, [0.025, 0.975])))
    assert found.difference.standard_error == pytest.approx(np.std(after - before))
    assert "auc_presence_head" not in scores[0]


def test_a_variant_of_one_seed_has_the_metrics_of_its_run(maps: Maps, maps_without_presence: Maps) -> None:
    for drawn in (maps, maps_without_presence):
        metrics = compute_metrics(drawn.histograms)
        run = RunPredictions.of(drawn.histograms)
        (scores,) = score_variants([[run]])
        for name in ("dice", "dice_positive", "sensitivity", "specificity"):
            assert scores[name].value == pytest.approx(getattr(metrics.nested, name), abs=1e-15), name
        assert scores["dice"].interval == pytest.approx(metrics.nested.dice_interval)
        assert scores["dice_over_empty"].interval == pytest.approx(metrics.dice_over_empty_interval)
        assert scores["auc_max_pixel"].value == metrics.auc.max_pixel
        assert run.auc == metrics.auc
    assert "auc_presence_head" not in scores


def test_a_difference_to_itself_is_nothing_and_one_without_partner_is_none() -> None:
    runs = draw_runs()
    _, same = score_variants([runs, runs])
    assert same["dice"].difference is not None
    assert same["dice"].difference.interval == (0, 0)
    assert same["dice"].difference.detectable == 0
    with_head = RunPredictions.of(draw_maps().histograms)
    without = RunPredictions.of(draw_maps(presence_head=False).histograms)
    assert not with_head.has_same_images(runs[0])
    assert score_variants([[without], [with_head]])[1]["auc_presence_head"].difference is None


def test_a_difference_of_the_detectable_size_is_shown_in_80_percent_of_all_samples(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bootstrap, "RESAMPLES", 400)
    rng, images, error = np.random.default_rng(0), 150, 0.3
    # Of independent patients, whose differences have this standard deviation.
    true = 2.8016 * error / np.sqrt(images)
    alike = vars(draw_runs(images=images)[0]) | {"patient": np.arange(images), "positive": np.ones(images, np.bool_)}
    shown, detectable = [], []
    for _ in range(300):
        hard = rng.random(images)
        values = [hard, hard + rng.normal(true, error, images)]
        changed = [RunPredictions(**alike | {"dice": dice}) for dice in values]
        difference = score_variants([[run] for run in changed])[1]["dice"].difference
        assert difference is not None
        shown.append(difference.interval[0] > 0)
        detectable.append(difference.detectable)
    assert np.mean(shown) == pytest.approx(0.8, abs=0.07)
    assert np.mean(detectable) == pytest.approx(true, rel=0.03)


def test_variants_that_remove_other_components_have_other_scores() -> None:
    """They have the same maps, from which both decide, and other masks."""
    both = [draw_maps(min_component=limit).histograms for limit in (0.0, 4_000.0)]
    runs = [RunPredictions.of(one) for one in both]
    assert [run.min_component for run in runs] == [0, 4_000]
    assert runs[0].auc == runs[1].auc
    difference = score_variants([[run] for run in runs])[1]["dice"].difference
    assert difference is not None
    assert difference.value == pytest.approx((runs[1].dice - runs[0].dice).mean(), abs=1e-12)
    assert difference.value > 0, "what is removed is noise"
