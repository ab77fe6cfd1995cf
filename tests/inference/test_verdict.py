"""Whether a run is better than empty masks: by its interval, and a warning unless it is."""

import logging
from types import SimpleNamespace
from typing import Any

import pytest

from pneumo.inference.verdict import judge, warn_unless_better


def compared(over: float, low: float, high: float) -> Any:
    return SimpleNamespace(
        nested=SimpleNamespace(dice=0.75 + over),
        dice_all_empty=0.75,
        dice_over_empty=over,
        dice_over_empty_interval=(low, high),
    )


@pytest.mark.parametrize(
    ("over", "low", "high", "standing", "text"),
    [
        (
            0.05, 0.01, 0.09, "better",
            "Better than empty masks. The nested Dice is 0.800, and 0.750 when every mask is left empty: a difference"
            " of +0.050 (+0.010 to +0.090).",
        ),
        (
            0.05, 0.0, 0.09, "unclear",
            "Not clearly better than empty masks. The nested Dice is 0.800, and 0.750 when every mask is left empty: a"
            " difference of +0.050 (+0.000 to +0.090).",
        ),
        (
            -0.25, -0.35, -0.15, "worse",
            "Worse than empty masks. The nested Dice is 0.500, and 0.750 when every mask is left empty: a difference of"
            " -0.250 (-0.350 to -0.150). Do not use these networks for predictions.",
        ),
    ],
)  # fmt: skip
def test_the_verdict_is_logged_unless_it_is_good(
    over: float, low: float, high: float, standing: str, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        verdict = warn_unless_better("runs/a", compared(over, low, high))
    assert verdict == judge(compared(over, low, high))
    assert (verdict.standing, verdict.text) == (standing, text)
    assert [record.getMessage() for record in caplog.records] == [f"runs/a: {text}"] * (standing != "better")
