"""The sections on training: the recipe, how far each fold is, learning curves, time and memory."""

import math
from collections.abc import Iterable, Sequence
from statistics import median

import numpy as np

from pneumo.reporting.html import charts
from pneumo.reporting.html.chart import Chart
from pneumo.reporting.html.charts import Series
from pneumo.reporting.html.page import Block, Cell, Column, Details, Figure, Figures, Points, Prose, Section, Table
from pneumo.reporting.html.words import UNDEFINED, percent
from pneumo.reporting.report.facts import FoldProgress, History, RunFacts
from pneumo.reporting.report.words import duration, score
from pneumo.runtime.errors import counted

MAX_LINES = 6
"""Folds that are drawn as lines of their own; of more, the median and the range."""
CURVES = (
    ("train/total", "loss", "Training loss", "Mean over the images of each epoch. It should fall."),
    (
        "val/dice_best_rule",
        "Dice",
        "Validation Dice",
        "Of the averaged weights on the fold's own images, under the rule that is best for these very images: good for"
        " comparing epochs, and higher than on new images.",
    ),
    (
        "val/auc",
        "AUC",
        "Validation AUC of presence",
        "How well images with a pneumothorax are told from others: 0.5 is chance, 1 is perfect.",
    ),
)
"""Name in the history, label of the axis, title, explanation."""
CONSISTENCY = (
    "train/consistency",
    "loss",
    "Consistency loss",
    "Mean over the unlabeled images of each epoch, before the ramp-up of its weight: how much what the network predicts"
    " for an image differs from what the average of its weights predicts for the mirror image.",
)
"""The same of runs that learn from unlabeled images."""


def recipe(facts: RunFacts) -> Section:
    """Return the section that says in words what was trained."""
    return Section(title="Recipe", blocks=[Points(items=facts.recipe)])


def learning_curves(facts: RunFacts) -> Section:
    """Return the section with the curves of all folds."""
    figures = [
        Figure(content=chart, caption=f"{title}. {explanation}")
        for name, label, title, explanation in (*CURVES, CONSISTENCY)
        if (chart := _curve(facts.folds, name, label, title)) is not None
    ]
    blocks: list[Block] = [Figures(items=figures)] if figures else []
    if not figures:
        blocks = [Prose(paragraphs=["No fold has finished an epoch yet."])]
    return Section(title="Learning curves", blocks=blocks)


def _curve(folds: Sequence[FoldProgress], name: str, label: str, title: str) -> Chart | None:
    points = {one.fold: [(entry["epoch"], entry[name]) for entry in _known(one.history, name)] for one in folds}
    points = {fold: found for fold, found in points.items() if found}
    if not points:
        return None
    ends = ", ".join(f"fold {fold} ends at {found[-1][1]:.3f}" for fold, found in points.items())
    series = [
        Series(name=f"fold {fold}", x=[x for x, _ in found], y=[y for _, y in found]) for fold, found in points.items()
    ]
    if len(series) > MAX_LINES:
        series = [_median_of(points.values())]
    return charts.lines(series, description=f"{title} by epoch: {ends}", x_label="epoch", y_label=label, whole_x=True)


def _median_of(curves: Iterable[Sequence[tuple[float, float]]]) -> Series:
    by_epoch: dict[float, list[float]] = {}
    for x, y in (point for curve in curves for point in curve):
        by_epoch.setdefault(x, []).append(y)
    epochs = sorted(by_epoch)
    values = [by_epoch[epoch] for epoch in epochs]
    return Series(
        name="median", x=epochs, y=[median(v) for v in values], low=[min(v) for v in values],
        high=[max(v) for v in values],
    )  # fmt: skip


def time_and_memory(facts: RunFacts) -> Section:
    """Return the section on what training cost."""
    columns = [
        *(Column(title="fold"), Column(title="epochs", numeric=True), Column(title="training", numeric=True)),
        *(Column(title="validation", numeric=True), Column(title="images/s, median", numeric=True)),
        *(Column(title="data wait, largest", numeric=True), Column(title="process, GiB", numeric=True)),
        Column(title="GPU, GiB", numeric=True),
    ]
    rows = [_cost(one) for one in facts.folds if one.history]
    if not rows:
        return Section(title="Time and memory", blocks=[Prose(paragraphs=["No fold has finished an epoch yet."])])
    seconds = [_total(one.history, "train_s") + _total(one.history, "validation_s") for one in facts.folds]
    took = f"All folds together took {duration(sum(seconds))} of training and validation. " if sum(seconds) else ""
    text = (
        f"{took}Images per second are the median"
        " of the epochs. The data wait is the largest share of an epoch that a process waited for its loader: a"
        " large one calls for more processor cores for each GPU. On a GPU it is the most that waiting can have cost."
        " Memory is the most of a process, and what torch took of its GPU. An epoch that was interrupted counts from"
        " its last start."
    )
    return Section(
        title="Time and memory",
        blocks=[
            Prose(paragraphs=[text]),
            Table(caption="What each fold cost", columns=columns, rows=rows),
            *_speed(facts.folds),
        ],
    )


def _cost(one: FoldProgress) -> list[Cell]:
    speeds, waits = _values(one.history, "images_per_s"), _values(one.history, "data_wait")
    return [
        f"fold {one.fold}",
        len(one.history),
        _duration_of(one.history, "train_s"),
        _duration_of(one.history, "validation_s"),
        f"{median(speeds):.1f}" if speeds else UNDEFINED,
        percent(max(waits)) if waits else UNDEFINED,
        *(
            f"{max(found):.2f}" if (found := _values(one.history, name)) else UNDEFINED
            for name in ("process_gib", "device_gib")
        ),
    ]


def _speed(folds: Sequence[FoldProgress]) -> list[Block]:
    chart = _curve(folds, "images_per_s", "images/s", "Training speed")
    if chart is None:
        return []
    figure = Figure(content=chart, caption="Training speed of each epoch. A fall: something else was at work.")
    return [Details(summary="Speed by epoch", blocks=[Figures(items=[figure])])]


def _known(history: History, name: str) -> History:
    return [entry for entry in history if name in entry and math.isfinite(entry[name])]


def _values(history: History, name: str) -> list[float]:
    return [entry[name] for entry in _known(history, name)]


def _total(history: History, name: str) -> float:
    return float(np.sum(_values(history, name)))


def _duration_of(history: History, name: str) -> str:
    return duration(_total(history, name)) if _values(history, name) else UNDEFINED


def progress(facts: RunFacts) -> Section:
    """Return the section that says how far a run is which is not finished."""
    columns = [Column(title="fold"), Column(title="state"), Column(title="epochs", numeric=True)]
    columns += [Column(title=f"last {title[0].lower()}{title[1:]}", numeric=True) for _, _, title, _ in CURVES]
    rows: list[list[Cell]] = [
        [
            f"fold {one.fold}",
            one.state,
            len(one.history),
            *(score(found[-1]) if (found := _values(one.history, name)) else UNDEFINED for name, *_ in CURVES),
        ]
        for one in facts.folds
    ]
    done = sum(one.state == "finished" for one in facts.folds)
    text = f"{done} of {counted(len(facts.folds), 'fold')} finished. The figures are those of the last checkpoint."
    return Section(
        title="Progress",
        blocks=[Prose(paragraphs=[text]), Table(caption="How far each fold is", columns=columns, rows=rows)],
    )
