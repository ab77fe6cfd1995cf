"""The section on presence: whether an image has a pneumothorax at all, without regard to where."""

from collections.abc import Mapping

from pneumo.dataset.patients import number_patients
from pneumo.inference.calibration import Reliability, reliability
from pneumo.inference.evaluation import presence_scores
from pneumo.inference.presence_curves import PresenceCurves, presence_curves
from pneumo.reporting.html import charts
from pneumo.reporting.html.charts import Series
from pneumo.reporting.html.page import Cell, Column, Figure, Figures, Prose, Section, Table
from pneumo.reporting.html.words import percent
from pneumo.reporting.report.facts import Evidence
from pneumo.reporting.report.words import score, with_interval

NAMES = {"presence_head": "presence head", "max_pixel": "highest pixel"}
CALIBRATED = "estimate from both and the areas"
"""The presence probability of ``inference.expected_score``."""


def presence(evidence: Evidence) -> Section:
    """Return the section with ROC, precision-recall curve and reliability diagram."""
    histograms = evidence.histograms
    patients, found = number_patients(histograms.patient), presence_scores(histograms)
    curves = {
        NAMES[name]: one
        for name, values in found.items()
        if (one := presence_curves(histograms.positive, values, patients)) is not None
    }
    if not curves:
        kind = "no" if not histograms.positive.any() else "nothing but"
        text = f"There are {kind} positive images: there is no curve to draw."
        return Section(title="Presence", blocks=[Prose(paragraphs=[text])])
    name = "presence_head" if "presence_head" in found else "max_pixel"
    diagrams = {NAMES[name]: reliability(histograms.positive, found[name])}
    if evidence.nested.estimates is not None:
        diagrams[CALIBRATED] = reliability(histograms.positive, evidence.nested.estimates.presence)
    text = (
        "Telling an image with a pneumothorax from one without decides most of the Dice. Two scores can: the presence"
        " head's probability, and the largest probability of a pixel. The curves show every threshold on each."
    )
    rate = float(histograms.positive.mean())
    return Section(
        title="Presence",
        blocks=[
            Prose(paragraphs=[text]),
            Figures(items=[_roc(curves, evidence), _precision_recall(curves, rate), _reliability(diagrams, rate)]),
            _areas(curves),
            *(_bins(diagram, name) for name, diagram in diagrams.items()),
        ],
    )


def _roc(curves: Mapping[str, PresenceCurves], evidence: Evidence) -> Figure:
    nested = evidence.metrics.nested
    series = [Series(name=name, x=one.false_positive_rate, y=one.true_positive_rate) for name, one in curves.items()]
    series.append(Series(name="chance", x=[0, 1], y=[0, 1]))
    described = "ROC curves: " + ", ".join(f"{name} AUC {one.auc.value:.3f}" for name, one in curves.items())
    if nested.sensitivity is not None and nested.specificity is not None:
        series.append(Series(name="nested rules", x=[1 - nested.specificity], y=[nested.sensitivity]))
        described += f"; nested rules: sensitivity {nested.sensitivity:.3f}, specificity {nested.specificity:.3f}"
    chart = charts.lines(
        series, description=described, x_label="1 - specificity", y_label="sensitivity",
        x_limits=(0, 1), y_limits=(0, 1), markers=True,
    )  # fmt: skip
    caption = (
        "ROC curve. Further up and to the left is better. The point is that of the nested rules, which were chosen on"
        " other images and also ask for an area and for the other score; the rule for new images is not drawn."
    )
    return Figure(content=chart, caption=caption)


def _precision_recall(curves: Mapping[str, PresenceCurves], rate: float) -> Figure:
    series = [Series(name=name, x=one.recall[::-1], y=one.precision[::-1]) for name, one in curves.items()]
    series.append(Series(name="chance", x=[0, 1], y=[rate, rate]))
    areas = ", ".join(f"{name} average precision {one.average_precision.value:.3f}" for name, one in curves.items())
    chart = charts.lines(
        series, description=f"Precision-recall curves: {areas}; chance {rate:.3f}", x_label="recall (sensitivity)",
        y_label="precision", x_limits=(0, 1), y_limits=(0, 1),
    )  # fmt: skip
    caption = (
        f"Precision-recall curve. Precision is the share of the images called positive that are; {percent(rate)} are."
    )
    return Figure(content=chart, caption=caption)


def _reliability(diagrams: Mapping[str, Reliability], rate: float) -> Figure:
    series = [
        Series(name=name, x=[one.mean_probability for one in each.bins], y=[one.observed for one in each.bins])
        for name, each in diagrams.items()
    ]
    described = ". ".join(
        f"{name}: "
        + "; ".join(
            f"{one.images} images of mean probability {one.mean_probability:.2f}, {one.observed:.0%} positive"
            for one in each.bins
        )
        for name, each in diagrams.items()
    )
    chart = charts.lines(
        [*series, Series(name="ideal", x=[0, 1], y=[0, 1])], description=f"Reliability diagram. {described}",
        x_label="mean probability", y_label="share of positive images", x_limits=(0, 1), y_limits=(0, 1),
    )  # fmt: skip
    errors = "; ".join(
        f"{name}: expected calibration error {percent(each.expected_error)}, Brier score {each.brier:.4f}"
        for name, each in diagrams.items()
    )
    caption = (
        f"Reliability of the {' and the '.join(diagrams)}. On the ideal line a probability of 30 % is right for 3"
        " images of 10. Expected calibration error (Guo et al. 2017, equation 3): the mean distance from that line,"
        " over ten bins of equal width. Brier score (1950): the mean squared error of the probability; always saying"
        " the share of positive images gives"
        f" {rate * (1 - rate):.4f}. {errors[:1].upper()}{errors[1:]}."
    )
    return Figure(content=chart, caption=caption)


def _areas(curves: Mapping[str, PresenceCurves]) -> Table:
    columns = [Column(title="score"), Column(title="AUC (95 % interval)", numeric=True)]
    columns += [Column(title="average precision (95 % interval)", numeric=True)]
    rows: list[list[Cell]] = [
        [name, *(with_interval(area.value, area.interval) for area in (one.auc, one.average_precision))]
        for name, one in curves.items()
    ]
    return Table(caption="Areas under the curves; intervals: bootstrap over patients", columns=columns, rows=rows)


def _bins(diagram: Reliability, name: str) -> Table:
    numbers = ("images", "positive", "mean probability", "share of positive images")
    columns = [Column(title="probability"), *(Column(title=title, numeric=True) for title in numbers)]
    rows: list[list[Cell]] = [
        [
            f"{one.low:.1f} to {one.high:.1f}",
            one.images,
            one.positives,
            score(one.mean_probability),
            score(one.observed),
        ]
        for one in diagram.bins
    ]
    return Table(caption=f"Images by the probability of the {name}", columns=columns, rows=rows)
