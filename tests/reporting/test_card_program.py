"""The program of a model card, run with a stand-in for ONNX Runtime."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from pneumo.inference.decision_rule import DecisionRule, mask_bin, write_rule
from pneumo.inference.expected_score import ExpectedScore
from pneumo.reporting import card_program

SIZE = 64
RULE = DecisionRule(
    128, 0.0, 100, 0.5,
    ExpectedScore(
        presence_intercept=-2.5, head_weight=0.6, max_pixel_weight=0.4,
        area_weights=(0.0, 0.0, 0.1, 0.0, 0.15, 0.0, 0.0, 0.1),
        lesion_shares=tuple(k**2 / 34**2 for k in range(35)), dice_intercept=0.3, dice_weight=0.9,
    ),
)  # fmt: skip


@pytest.mark.parametrize("presence_head", [True, False])
def test_masks_are_those_of_the_decision_by_expected_score(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, presence_head: bool
) -> None:
    rng = np.random.default_rng(0)
    write_rule(tmp_path / "thresholds.json", RULE)
    monkeypatch.chdir(tmp_path)
    answers: list[list[np.ndarray]] = []
    session = SimpleNamespace(run=lambda *_: answers[-1])
    monkeypatch.setitem(sys.modules, "onnxruntime", SimpleNamespace(InferenceSession=lambda _: session))
    names: dict[str, Callable[[np.ndarray], np.ndarray]] = {}
    exec("\n".join(card_program.write(RULE, SIZE, presence_head=presence_head)), names)
    given = []
    for n in range(40):
        # Of the networks' size, so that no interpolation rounds.
        pixels = np.zeros((1, SIZE, SIZE), np.float32)
        pixels[0, : rng.integers(1, 40), :30] = rng.random((1, 30)) ** (n % 4)
        presence = np.array([rng.random()], np.float32)
        answers.append([pixels, presence] if presence_head else [pixels])
        mask = names["segment"](np.zeros((SIZE, SIZE), np.uint8))
        bins = np.minimum(pixels[0] * 256, 255).astype(int)
        counts = np.bincount(bins.ravel(), minlength=256)
        first = mask_bin(RULE, counts, float(presence[0]) if presence_head else float("nan"))
        np.testing.assert_array_equal(mask, bins >= first if first else np.zeros_like(mask))
        given.append(first > 0)
    assert 5 < sum(given) < 35
