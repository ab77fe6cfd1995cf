"""Made-up facts of runs, for the sections of the report."""

from dataclasses import replace
from typing import Any

import numpy as np
from plain_nested import nested_estimate

from pneumo.inference.evaluation import compute_metrics
from pneumo.inference.histograms import BINS, PredictionHistograms
from pneumo.reporting.html import page
from pneumo.reporting.html.page import Block, Section, Table
from pneumo.reporting.report.facts import Evidence, FoldProgress, RunFacts

N = 48
PIXELS = 1 << 12


def make_histograms(*, good: bool = True, presence_head: bool = True, positives: int = 16) -> PredictionHistograms:
    """Make predictions of 48 images of 24 patients in 3 folds: of good networks, or of ones that see the opposite."""
    rng = np.random.default_rng(0)
    inside, outside = np.zeros((2, N, BINS), np.int32)
    order = rng.permutation(N)
    positive = np.isin(np.arange(N), order[:positives])
    for i in range(N):
        truth = 200 + 20 * i if positive[i] else 0
        hit = int(truth * (0.5 + 0.5 * rng.random())) if good else 0
        stray = int(rng.integers(0, 30)) if good else 40 * (i % 7) * (not positive[i])
        inside[i, 220], inside[i, 5] = hit, truth - hit
        outside[i, 210], outside[i, 2] = stray, PIXELS - truth - stray
    presence = np.clip(rng.normal(0.35 + 0.3 * positive, 0.15), 0, 1).astype(np.float32)
    return PredictionHistograms(
        image_id=np.array([f"1.2.{i}" for i in range(N)]),
        fold=(np.arange(N) // 2 % 3).astype(np.int16),
        patient=(np.arange(N) // 2).astype(np.int32),
        positive=positive,
        pixels=np.full(N, PIXELS, np.int64),
        presence_probability=presence if presence_head else np.full(N, np.nan, np.float32),
        inside=inside,
        outside=outside,
    )


def make_evidence(**options: Any) -> Evidence:
    histograms = make_histograms(**options)
    nested = nested_estimate(histograms)
    return Evidence(histograms=histograms, nested=nested, metrics=compute_metrics(histograms, nested), masks={})


def history(epochs: int, **values: float) -> list[dict[str, float]]:
    """Make a history whose losses fall by 0.1 an epoch."""
    return [
        {"epoch": n + 1, "train/total": 1 - 0.1 * n, "val/dice_best_rule": 0.5 + 0.1 * n, "val/auc": 0.6, **values}
        for n in range(epochs)
    ]


MEASURED = {
    "images_per_s": 20.0,
    "train_s": 90.0,
    "validation_s": 30.0,
    "data_wait": 0.25,
    "process_gib": 1.5,
    "device_gib": 6.25,
}


def make_facts(**changes: Any) -> RunFacts:
    facts = RunFacts(
        name="best",
        recipe_name="best",
        recipe=["The network is a U-Net.", "The seed is 0."],
        folds=[FoldProgress(fold=k, state="finished", history=history(3, **MEASURED)) for k in range(3)],
        metrics_sha256="c" * 64,
        evidence=make_evidence(),
        reader=None,
        dataset_digest="a" * 64,
        folds_digest="b" * 64,
        patients="All images of a patient are in one fold.",
        excluded={},
        trained_with="0.2.0",
        written_with={"pneumo": "0.2.0", "torch": "2.9"},
        date="2026-11-27",
    )
    return replace(facts, **changes)


def html_of(*sections: Section) -> str:
    """Return the sections as HTML, which the template renders only when they fit."""
    return page.render(
        page.Page(generator="test", title="Test", lead="A test.", sections=sections, footer=["The end."])
    )


def table_of(section: Section, number: int = 0) -> Table:
    tables: list[Block] = [block for block in section.blocks if isinstance(block, Table)]
    found = tables[number]
    assert isinstance(found, Table)
    return found
