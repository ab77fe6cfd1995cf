"""Whether the predictions of a run are better than empty masks: one sentence for the log, the pages and the card."""

from dataclasses import dataclass
from typing import Literal

from pneumo.inference.metrics import Metrics
from pneumo.runtime.console import log


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """A comparison of the nested Dice with that of empty masks."""

    standing: Literal["better", "unclear", "worse"]
    """``unclear``: higher, but the interval of the difference includes 0."""
    text: str


def judge(found: Metrics) -> Verdict:
    """Compare the nested Dice of a run with the Dice of calling every image empty."""
    low, high = found.dice_over_empty_interval
    compared = (
        f"The nested Dice is {found.nested.dice:.3f}, and {found.dice_all_empty:.3f} when every mask is left empty:"
        f" a difference of {found.dice_over_empty:+.3f} ({low:+.3f} to {high:+.3f})."
    )
    if found.dice_over_empty < 0:
        text = f"Worse than empty masks. {compared} Do not use these networks for predictions."
        return Verdict(standing="worse", text=text)
    if low <= 0:
        return Verdict(standing="unclear", text=f"Not clearly better than empty masks. {compared}")
    return Verdict(standing="better", text=f"Better than empty masks. {compared}")


def warn_unless_better(name: object, found: Metrics) -> Verdict:
    """Return the verdict on a run; log it as a warning unless it is good.

    Args:
        name: Of the run or the blend.
        found: Its metrics.
    """
    verdict = judge(found)
    if verdict.standing != "better":
        log.warning("%s: %s", name, verdict.text)
    return verdict
