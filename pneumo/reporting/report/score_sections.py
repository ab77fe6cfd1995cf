"""The sections on the Dice: nested and in-sample beside the all-empty baseline, and fold by fold."""

from pneumo.dataset.patients import number_patients
from pneumo.inference.bootstrap import interval
from pneumo.inference.decision_rule import score_images
from pneumo.inference.metrics import FoldScores, Scores
from pneumo.inference.verdict import judge
from pneumo.reporting.html import charts
from pneumo.reporting.html.charts import Estimate
from pneumo.reporting.html.page import Cell, Column, Facts, Figure, Figures, Notice, Prose, Section, Table
from pneumo.reporting.report.facts import Evidence
from pneumo.reporting.report.words import score, with_interval

_SCORES = ("positive Dice", "empty Dice", "sensitivity", "specificity")
EXPLANATION = (
    "Dice is the mean over images of 2 |prediction and truth| / (|prediction| + |truth|), and 1 where both are empty."
    " Each image was predicted by the one network that was not trained on it. Nested: by a decision rule that was"
    " chosen on other images, which is the honest figure. In-sample: by the final rule, on the images that it was"
    " chosen on, which is a little too high. Baseline: every mask is empty. Positive and empty Dice are the means over"
    " images with and without a pneumothorax; sensitivity and specificity are of calling an image positive at all."
)


def verdict(evidence: Evidence) -> Notice:
    """Say in one sentence whether the predictions are better than empty masks."""
    found = judge(evidence.metrics)
    return Notice(kind="Good" if found.standing == "better" else "Warning", text=found.text)


def scores(evidence: Evidence) -> Section:
    """Return the section with the scores of all images."""
    metrics = evidence.metrics
    patients = number_patients(evidence.histograms.patient)
    in_sample = interval(score_images(evidence.histograms, evidence.nested.final), patients)
    empty = interval((~evidence.histograms.positive).astype(float), patients)
    all_empty = Scores(
        dice=metrics.dice_all_empty,
        dice_empty=1.0 if metrics.positives < metrics.images else None,
        dice_positive=0.0 if metrics.positives else None,
        sensitivity=0.0 if metrics.positives else None,
        specificity=1.0 if metrics.positives < metrics.images else None,
    )
    shown = (
        ("nested", metrics.nested, metrics.nested.dice_interval),
        ("in-sample", metrics.in_sample, in_sample),
        ("baseline", all_empty, empty),
    )
    described = "; ".join(f"{name} {with_interval(one.dice, ends)}" for name, one, ends in shown)
    chart = charts.intervals(
        [Estimate(name=name, value=one.dice, low=ends[0], high=ends[1]) for name, one, ends in shown],
        description=f"Mean Dice with 95 % intervals: {described}",
        x_label="mean Dice",
    )
    rows: list[list[Cell]] = [[name, with_interval(one.dice, ends), *_cells(one)] for name, one, ends in shown]
    columns = [Column(title=""), Column(title="Dice (95 % interval)", numeric=True)]
    columns += [Column(title=title, numeric=True) for title in _SCORES]
    facts: list[tuple[Cell, str]] = [
        (f"{metrics.nested.dice:.3f}", "nested Dice"),
        (f"{metrics.dice_over_empty:+.3f}", "over empty masks"),
        (score(metrics.nested.sensitivity), "sensitivity"),
        (score(metrics.nested.specificity), "specificity"),
        (metrics.images, f"images, {metrics.positives:,} of them positive"),
        (metrics.patients, "patients"),
    ]
    resampled = f"Intervals: bootstrap over patients, {metrics.bootstrap_resamples:,} resamples."
    return Section(
        title="Scores",
        blocks=[
            Facts(items=facts),
            Figures(items=[Figure(content=chart, caption=f"Mean Dice. {resampled}")]),
            Table(caption="Scores of all out-of-fold images", columns=columns, rows=rows),
            Prose(paragraphs=[EXPLANATION]),
        ],
    )


def folds(evidence: Evidence) -> Section:
    """Return the section with the scores of each fold."""
    # Each fold is a column: there are fewer of them than figures, and a phone shows all figures of some.
    columns = [
        Column(title=""),
        *(Column(title=f"fold {one.fold}", numeric=True) for one in evidence.metrics.folds),
    ]
    names = ("images", "positive", "baseline", "nested Dice", *_SCORES, "AUC, head", "AUC, pixel")
    figures = [_figures_of(one) for one in evidence.metrics.folds]
    rows: list[list[Cell]] = [[name, *row] for name, *row in zip(names, *figures, strict=True)]
    text = (
        "Each fold's images by its own network, under the rule that was chosen on the other folds. Baseline is the Dice"
        " of empty masks, which differs between folds as the shares of positive images do. AUC is that of presence, by"
        " the presence head and by the highest pixel."
    )
    if len({one.fold for one in evidence.metrics.folds}) == 1:
        text += " The images of the single fold were divided into two halves, each scored by the rule of the other."
    return Section(
        title="Folds", blocks=[Prose(paragraphs=[text]), Table(caption="Scores by fold", columns=columns, rows=rows)]
    )


def _figures_of(fold: FoldScores) -> list[Cell]:
    return [
        fold.images, fold.positives, score(fold.dice_all_empty), score(fold.dice), *_cells(fold),
        score(fold.auc.presence_head), score(fold.auc.max_pixel),
    ]  # fmt: skip


def _cells(scores: Scores) -> list[Cell]:
    return [score(getattr(scores, name)) for name in ("dice_positive", "dice_empty", "sensitivity", "specificity")]
