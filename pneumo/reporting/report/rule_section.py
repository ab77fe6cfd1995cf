"""The section on the decision rule: the one for new images, and the Dice of others around it."""

import numpy as np

from pneumo.inference.decision_rule import NEVER
from pneumo.inference.landscape import Landscape, bottom_and_presence, top_and_area
from pneumo.reporting.html import charts
from pneumo.reporting.html.page import Block, Figure, Figures, Prose, Section
from pneumo.reporting.report.facts import Evidence
from pneumo.reporting.report.words import score


def decision_rule(evidence: Evidence) -> Section:
    """Return the section."""
    rule, histograms = evidence.nested.final, evidence.histograms
    chosen = evidence.metrics.in_sample.dice
    values = rule.in_probabilities()
    never = rule.min_area >= NEVER
    text = f"The rule for new images: {rule.describe()}. Its in-sample Dice is {score(chosen)}."
    flat = (
        "The maps show the Dice of all images when two thresholds of the rule are others. A broad dark plateau around"
        " the cross means that other images would hardly ask for another rule; a narrow peak means that they would."
    )
    figures = [
        _map(
            top_and_area(histograms, rule), "top threshold (probability)", "minimum area (px of 1024x1024)",
            None if never else (values.top_threshold, rule.min_area), "top threshold and minimum area",
        )
    ]  # fmt: skip
    if np.isfinite(histograms.presence_probability).any() and rule.top_bin > 8:
        point = None if never else (values.bottom_threshold, rule.presence_threshold)
        figures.append(
            _map(
                bottom_and_presence(histograms, rule), "bottom threshold (probability)",
                "presence threshold (probability)", point, "bottom threshold and presence threshold",
            )
        )  # fmt: skip
    blocks: list[Block] = [Prose(paragraphs=[text, flat]), Figures(items=figures)]
    if never:
        blocks.append(Prose(paragraphs=["No rule of the search is better than calling every image empty."]))
    return Section(title="Decision rule", blocks=blocks)


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
