"""Masks by their run lengths, and those that are not made at all."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from plain_histograms import apply_rule, quantize
from scipy import ndimage

from pneumo.inference.decision_rule import DecisionRule, predict_presence, score_images
from pneumo.inference.encoding import encode_batches
from pneumo.inference.expected_score import AREA_BINS, RANGES, ExpectedScore
from pneumo.inference.histograms import PredictionHistograms, mask_area
from pneumo.inference.prediction import PredictedBatch, count_pixels
from pneumo.inference.predictor import to_source
from pneumo.masks import rle
from pneumo.runtime.errors import UserError

CPU = torch.device("cpu")
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]
SHAPES = ((32, 32), (57, 31), (20, 64), (9, 13))
RULES = (DecisionRule(200, 100_000.0, 120, 0.3), DecisionRule(255, 0.0, 1), DecisionRule(128, 0.0, 128, 0.5))


def draw(device: str, seed: int) -> PredictedBatch:
    generator = torch.Generator().manual_seed(seed)
    maps = torch.rand(4, 32, 32, generator=generator)
    # On the edges of the bins where the source has the size of the network's input.
    maps = torch.where(maps < 0.7, (maps * 256).floor() / 256, maps)
    presence = torch.rand(4, generator=generator)
    return PredictedBatch(
        rows=tuple(range(seed, seed + 4)),
        shapes=SHAPES,
        maps=(maps.to(device),),
        presence=presence.to(device),
        finite=torch.ones((), dtype=torch.bool, device=device),
    )


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("rule", RULES)
def test_masks_are_those_of_the_rule_on_each_image(device: str, rule: DecisionRule) -> None:
    batches = [draw(device, seed) for seed in (0, 10, 20)]
    where = torch.device(device)
    found = list(encode_batches(count_pixels(batches, where), lambda row: None if row == 11 else rule, where))
    assert [mask.row for mask in found] == [row for batch in batches for row in batch.rows if row != 11]
    masks = {mask.row: mask for mask in found}
    positives = 0
    for batch in batches:
        for i, row in enumerate(batch.rows):
            if row != 11:
                bins = quantize(to_source(batch.maps[0][i], *SHAPES[i]).cpu().numpy())
                expected = apply_rule(bins, rule, float(batch.presence[i]))
                assert masks[row].rle == rle.encode(expected)
                assert masks[row].area == expected.sum()
                positives += bool(expected.any())
    assert positives > 0


def test_an_image_that_the_rule_calls_empty_has_no_mask_made(monkeypatch: pytest.MonkeyPatch) -> None:
    counted = list(count_pixels([draw("cpu", 0)], CPU))
    monkeypatch.setattr(PredictedBatch, "bins", lambda *_: pytest.fail("made a mask"))
    found = encode_batches(counted, lambda _: DecisionRule(1, 2.0**21, 1), CPU)
    assert [(mask.rle, mask.area) for mask in found] == [(rle.EMPTY, 0)] * 4


def test_nothing_is_believed_that_is_not_finite() -> None:
    batches = [draw("cpu", 0), replace(draw("cpu", 10), finite=torch.tensor(False)), draw("cpu", 20)]
    counted = count_pixels(batches, CPU)
    assert next(counted).batch.rows == (0, 1, 2, 3)
    with pytest.raises(UserError, match="not finite"):
        next(counted)


def test_what_makes_the_batches_is_not_in_inference_mode() -> None:
    """A loader may keep tensors that training changes afterwards, which those of inference mode refuse."""
    kept: list[torch.Tensor] = []

    def batches() -> Iterator[PredictedBatch]:
        for seed in (0, 10):
            kept.append(torch.zeros(3))
            yield draw("cpu", seed)

    list(encode_batches(count_pixels(batches(), CPU), lambda _: RULES[1], CPU))
    assert [tensor.is_inference() for tensor in kept] == [False, False]


def test_a_true_mask_is_asked_for_by_row() -> None:
    truth = np.zeros((32, 32), bool)
    truth[3:9, 20:31] = True
    runs = rle.parse(rle.encode(truth))
    (counted,) = count_pixels([draw("cpu", 0)], CPU, lambda row: runs if row == 0 else None)
    assert counted.counts[:, 1].sum(axis=1).tolist() == [truth.sum(), 0, 0, 0]
    assert counted.counts.sum(axis=(1, 2)).tolist() == [rows * columns for rows, columns in SHAPES]


BY_SCORE = ExpectedScore(
    presence_intercept=1.0,
    head_weight=0.5,
    max_pixel_weight=0.0,
    area_weights=(0.0,) * len(AREA_BINS),
    lesion_shares=tuple(np.linspace(0, 0.9, len(RANGES)).tolist()),
    dice_intercept=0.5,
    dice_weight=0.5,
)
SCORED_RULES = (
    DecisionRule(200, 20_000.0, 120, 0.3),
    DecisionRule(230, 0.0, 201, 0.0),
    DecisionRule(150, 0.0, 3, 0.0),
    DecisionRule(250, 2.0**21, 1, 0.0, BY_SCORE),
)


def draw_smooth(device: str, seed: int) -> PredictedBatch:
    """Draw maps with components of all sizes."""
    rng = np.random.default_rng(seed)
    maps = np.stack([ndimage.gaussian_filter(rng.random((32, 32)), 1.2) for _ in range(4)])
    maps = np.clip((maps - 0.4) * 4, 0, 1)
    return replace(draw(device, seed), maps=(torch.from_numpy(maps).float().to(device),))


def remove_by_hand(mask: np.ndarray, min_component: float) -> np.ndarray:
    labels, _ = ndimage.label(mask, np.ones((3, 3)))
    areas = np.bincount(labels.ravel()) * 1024**2 / mask.size
    areas[0] = 0
    return (areas >= max(min_component, 1e-9))[labels].astype(np.uint8)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("min_component", [0.0, 5_000.0, 30_000.0, 200_000.0])
def test_the_score_is_that_of_the_masks_that_are_made(device: str, min_component: float) -> None:
    """Image by image, whichever rule decides: of the map as it is, and then the mask loses its small components."""
    where, batches = torch.device(device), [draw_smooth(device, seed) for seed in (0, 10, 20, 30)]
    rng, truths, rows = np.random.default_rng(5), {}, [row for batch in batches for row in batch.rows]
    for batch in batches:
        for i, row in enumerate(batch.rows):
            near = to_source(batch.maps[0][i], *SHAPES[i]).cpu().numpy() > 0.6
            truths[row] = (ndimage.binary_opening(near) if rng.random() < 0.6 else near & False).astype(np.uint8)
    runs = {row: rle.parse(rle.encode(truth)) for row, truth in truths.items()}
    counted = list(count_pixels(batches, where, runs.get, min_component))
    kept = [each.kept for each in counted]
    counts = np.concatenate([each.counts for each in counted])
    opened = counts if kept[0] is None else np.concatenate(kept)
    assert (kept[0] is None) == (min_component == 0)
    histograms = PredictionHistograms(
        image_id=np.array([f"1.{row}" for row in rows]),
        fold=np.zeros(len(rows), np.int16),
        patient=np.arange(len(rows), dtype=np.int32),
        positive=np.array([bool(truths[row].any()) for row in rows]),
        pixels=np.array([truths[row].size for row in rows]),
        presence_probability=np.concatenate([each.presence for each in counted]).astype(np.float32),
        outside=counts[:, 0],
        inside=counts[:, 1],
        min_component=min_component,
        kept_outside=None if min_component == 0 else opened[:, 0],
        kept_inside=None if min_component == 0 else opened[:, 1],
    )
    emptied = 0
    for rule in SCORED_RULES:
        masks = list(encode_batches(counted, lambda _, rule=rule: rule, where, min_component=min_component))
        scores, called = score_images(histograms, rule), predict_presence(histograms, rule)
        for n, mask in enumerate(masks):
            shape = truths[mask.row].shape
            made, truth = rle.decode(mask.rle, *shape), truths[mask.row]
            size = int(made.sum()) + int(truth.sum())
            assert scores[n] == (2 * int((made & truth).sum()) / size if size else 1.0)
            assert called[n] == made.any()
            if rule.expected_score is None:
                bins = quantize(mask.counted.batch.probability(mask.position).cpu().numpy())
                with_all = apply_rule(bins, rule, mask.counted.presence[mask.position])
                assert np.array_equal(made, remove_by_hand(with_all, min_component))
                emptied += bool(with_all.any() and not made.any())
                if with_all.any():
                    assert mask_area(histograms, rule.bottom_bin)[n] == made.sum() * 1024**2 / made.size
        assert sum(called) > 0 or min_component > 5_000
    assert (emptied > 0) == (min_component > 5_000)
