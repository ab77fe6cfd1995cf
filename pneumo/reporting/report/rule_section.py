"""The section on the decision rule: the one for new images, and the Dice of others around it."""

import numpy as np

from pneumo.inference.decision_rule import NEVER, DecisionRule
from pneumo.inference.expected_score import Estimates
from pneumo.inference.histograms import dice
from pneumo.inference.landscape import Landscape, bottom_and_presence, top_and_area
from pneumo.inference.metrics import SubmissionRule, describe_move
from pneumo.reporting.html import charts
from pneumo.reporting.html.page import Block, Cell, Column, Figure, Figures, Prose, Section, Table
from pneumo.reporting.report.facts import Evidence
from pneumo.reporting.report.words import score, with_interval

PARTS = 5
"""Into which positive images are divided by their expected Dice."""
_SCORES = {
    "nested Dice": "dice",
    "Dice, positive": "dice_positive",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
}


def decision_rule(evidence: Evidence) -> Section:
    """Return the section."""
    rule, histograms = evidence.nested.final, evidence.histograms
    chosen = evidence.metrics.in_sample.dice
    values = rule.in_probabilities()
    by_score = rule.expected_score is not None
    point = rule.min_area < NEVER and not by_score
    moved = evidence.metrics.submission_rule
    what = "The rule of single networks" if moved is not None and moved.enough_positive else "The rule for new images"
    text = f"{what}: {rule.describe()}. Its in-sample Dice is {score(chosen)}."
    flat = (
        "The maps show the Dice of all images when two thresholds of the rule are others. A broad dark plateau around"
        " the cross means that other images would hardly ask for another rule; a narrow peak means that they would."
    )
    if by_score:
        flat += " They are of the thresholds, which this run does not use: there is no cross."
    figures = [
        _map(
            top_and_area(histograms, rule), "top threshold (probability)", "minimum area (px of 1024x1024)",
            (values.top_threshold, rule.min_area) if point else None, "top threshold and minimum area",
        )
    ]  # fmt: skip
    if np.isfinite(histograms.presence_probability).any() and rule.top_bin > 8:
        figures.append(
            _map(
                bottom_and_presence(histograms, rule), "bottom threshold (probability)",
                "presence threshold (probability)",
                (values.bottom_threshold, rule.presence_threshold) if point else None,
                "bottom threshold and presence threshold",
            )
        )  # fmt: skip
    texts = [text] if moved is None else [text, _move(moved)]
    blocks: list[Block] = [Prose(paragraphs=texts), *_comparison(evidence), Prose(paragraphs=[flat])]
    blocks.append(Figures(items=figures))
    if rule.is_never:
        blocks.append(Prose(paragraphs=["No rule of the search is better than calling every image empty."]))
    return Section(title="Decision rule", blocks=blocks)


def _move(moved: SubmissionRule) -> str:
    """Say what the rule for new images is, and why it is or is not that of single networks."""
    text = "New images are predicted by the mean of all folds' networks, whose probabilities are less extreme"
    if not moved.enough_positive:
        return f"{text}: {describe_move(moved)}."
    return (
        f"{text}; its rule was found on test images, without their masks: {describe_move(moved)}. The rule for new"
        f" images: {DecisionRule.from_probabilities(moved.rule).describe()}."
    )


def _comparison(evidence: Evidence) -> list[Block]:
    """Return the scores of both kinds of rules, and which of them is used and why; nothing where one was known."""
    found = evidence.metrics.rule_comparison
    if found is None:
        return []
    text = (
        "Two kinds of rules were compared, each image scored by rules that were chosen or fitted on other folds:"
        " searched thresholds, and the decision by expected score, which gives a mask when its expected Dice, by"
        " estimates of presence and overlap, is above that of an empty one. Expected score minus thresholds:"
        f" {with_interval(found.difference, found.difference_interval, '+')}, paired bootstrap over patients."
        f" New images are decided by {found.chosen}, the higher of the two; thresholds where they are equal."
    )
    columns = [Column(title="kind"), *(Column(title=title, numeric=True) for title in _SCORES)]
    rows: list[list[Cell]] = [
        [name, *(score(getattr(scores, field)) for field in _SCORES.values())]
        for name, scores in (("thresholds", found.thresholds), ("expected score", found.expected_score))
    ]
    blocks: list[Block] = [
        Prose(paragraphs=[text]),
        Table(caption="Nested scores of both kinds of rules", columns=columns, rows=rows),
    ]
    estimates = evidence.nested.estimates
    if estimates is not None and evidence.histograms.positive.any():
        blocks.append(_expected_dice(evidence, estimates))
    return blocks


def _expected_dice(evidence: Evidence, estimates: Estimates) -> Table:
    """Compare the expected Dice of the masks of positive images with that which they have, by fifths."""
    histograms = evidence.histograms
    positive = np.flatnonzero(histograms.positive)
    found = dice(histograms, estimates.mask_bin)
    rows: list[list[Cell]] = [
        [len(index), score(float(estimates.dice[index].mean())), score(float(found[index].mean()))]
        for index in np.array_split(positive[np.argsort(estimates.dice[positive], kind="stable")], PARTS)
        if len(index)
    ]
    columns = [Column(title=title, numeric=True) for title in ("images", "expected Dice", "Dice")]
    return Table(
        caption="Expected Dice of the best masks of positive images, by fifths, and the Dice that they have",
        columns=columns,
        rows=rows,
    )


def _map(land: Landscape, x_label: str, y_label: str, point: tuple[float, float] | None, what: str) -> Figure:
    best = np.unravel_index(int(land.dice.argmax()), land.dice.shape)
    described = (
        f"Mean Dice by {what}, from {land.dice.min():.3f} to {land.dice.max():.3f}, which is at {land.x[best[1]]:.2f}"
        f" and {land.y[best[0]]:g}" + (f"; chosen {point[0]:.2f} and {point[1]:g}" if point else "")
    )
    half_x, half_y = _half_step(land.x), _half_step(land.y)
    chart = charts.heat_map(
        land.dice[::-1], description=described, x_label=x_label, y_label=y_label, point=point, scale_label="mean Dice",
        extent=(land.x[0] - half_x, land.x[-1] + half_x, land.y[0] - half_y, land.y[-1] + half_y),
    )  # fmt: skip
    cross = "" if point is None else f" The cross is the chosen rule, at {point[0]:.2f} and {point[1]:g}."
    return Figure(content=chart, caption=f"Dice by {what}: from {land.dice.min():.3f} to {land.dice.max():.3f}.{cross}")


def _half_step(values: "np.ndarray[tuple[int, ...], np.dtype[np.float64]]") -> float:
    return float(values[1] - values[0]) / 2 if len(values) > 1 else 0.5
