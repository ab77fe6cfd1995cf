"""The page of finished, unfinished and new runs."""

import re
from dataclasses import replace
from pathlib import Path

from report_facts import history, make_evidence, make_facts

from pneumo.dataset.shard_reader import ShardReader
from pneumo.dataset.table import SampleTable
from pneumo.reporting.html.page import read_source, render, write
from pneumo.reporting.report.facts import UNFINISHED, FoldProgress, RunFacts
from pneumo.reporting.report.page import build

FINISHED = [
    *("Scores", "Caveats", "Folds", "Presence", "Decision rule", "Subgroups", "Errors", "Cases"),
    *("Learning curves", "Time and memory", "Recipe", "Dataset"),
]


def titles(facts: RunFacts) -> list[str]:
    return [section.title for section in build(facts).sections]


def text_of(facts: RunFacts) -> str:
    return " ".join(re.sub(r"<svg.*?</svg>|<style.*?</style>|<[^>]+>", " ", render(build(facts)), flags=re.S).split())


def test_a_finished_run_has_all_sections_and_says_what_made_it() -> None:
    facts = make_facts()
    assert titles(facts) == FINISHED
    text = text_of(facts)
    assert "Written on 2026-11-27 with pneumo 0.2.0, torch 2.9; the run was started with pneumo 0.2.0." in text
    assert f"Dataset SHA-256 {'a' * 16}, folds SHA-256 {'b' * 16}." in text
    assert "Not for clinical use." in text
    assert text.count("Better than empty masks.") == 1
    assert "Each out-of-fold prediction is of 1 network, a submission the mean of 1." in text
    assert "Pictures need the dataset" in text
    assert "Not finished" not in text


def test_a_run_below_the_baseline_says_so_first() -> None:
    evidence = make_evidence()
    worse = replace(evidence.metrics, dice_over_empty=-0.1, dice_over_empty_interval=(-0.2, -0.05))
    notices = build(make_facts(evidence=replace(evidence, metrics=worse))).notices
    assert notices[0].kind == "Warning"
    assert str(notices[0].text).startswith("Worse than empty masks.")


def test_caveats_of_the_metrics_are_sentences() -> None:
    evidence = make_evidence()
    metrics = replace(evidence.metrics, caveats=["no two images are known to be of one patient"])
    text = text_of(make_facts(evidence=replace(evidence, metrics=metrics)))
    assert "No two images are known to be of one patient." in text


def test_a_run_in_training_shows_what_is_there() -> None:
    folds = [
        FoldProgress(fold=0, state="finished", history=history(3)),
        FoldProgress(fold=1, state="in training", history=history(1)),
    ]
    facts = make_facts(folds=folds, metrics_sha256=UNFINISHED)
    assert titles(facts) == ["Progress", *FINISHED]
    text = text_of(facts)
    assert "Not finished: 1 of 2 folds are trained. The scores are of fold 0, and will change." in text


def test_a_run_that_has_only_begun_has_no_scores() -> None:
    folds = [FoldProgress(fold=0, state="not started", history=[])]
    facts = make_facts(folds=folds, metrics_sha256=UNFINISHED, evidence=None)
    assert titles(facts) == ["Progress", "Learning curves", "Time and memory", "Recipe", "Dataset"]
    assert "No fold is finished yet: there is nothing to score." in text_of(facts)


def test_trained_folds_without_metrics_say_what_to_do() -> None:
    assert "job/ensemble.py finishes the run" in text_of(make_facts(metrics_sha256=UNFINISHED))


def test_excluded_images_and_oddities_are_listed(dataset: Path) -> None:
    reader = ShardReader(dataset, SampleTable.read(dataset))
    text = text_of(make_facts(evidence=None, reader=reader, excluded={"1.2.<b>": "the jpg file is incomplete"}))
    assert "1 damaged image left out of training and scores" in text
    assert "1.2.&lt;b&gt;: the jpg file is incomplete" in text
    assert "What is odd about its images is shown with --dataset" not in text
    assert "What is odd about its images is shown with --dataset" in text_of(make_facts(evidence=None))


def test_a_page_with_ids_of_patients_says_so() -> None:
    assert "This page contains" not in text_of(make_facts())
    text = text_of(make_facts(excluded={"1.2.3": "the jpg file is incomplete"}))
    assert "This page contains ids of patients&#39; X-rays. Show it only where the dataset may be shown." in text


def test_a_page_says_of_which_metrics_it_is(tmp_path: Path) -> None:
    for digest in ("c" * 64, UNFINISHED):
        write(tmp_path / "page.html", build(make_facts(metrics_sha256=digest)))
        assert read_source(tmp_path / "page.html") == digest
