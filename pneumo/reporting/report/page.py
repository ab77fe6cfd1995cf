"""The page of a run's report: all sections in their order."""

from collections.abc import Iterator

from pneumo.dataset import oddities
from pneumo.reporting.html.page import Block, Details, Notice, Page, Points, Prose, Section
from pneumo.reporting.report import presence_sections, score_sections, training_sections
from pneumo.reporting.report.case_section import cases
from pneumo.reporting.report.error_section import errors
from pneumo.reporting.report.facts import RunFacts
from pneumo.reporting.report.rule_section import decision_rule
from pneumo.reporting.report.subgroup_section import subgroups
from pneumo.reporting.report.words import listed
from pneumo.runtime.errors import counted

GENERATOR = "pneumo report"


def build(facts: RunFacts) -> Page:
    """Return the page."""
    libraries = ", ".join(f"{name} {version}" for name, version in facts.written_with.items())
    return Page(
        generator=GENERATOR,
        title=f"The run {facts.name}",
        lead=_lead(facts),
        notices=list(_notices(facts)),
        source=facts.metrics_sha256,
        sections=list(_sections(facts)),
        footer=[
            f"Written on {facts.date} with {libraries}; the run was started with pneumo {facts.trained_with}.",
            f"Dataset SHA-256 {facts.dataset_digest[:16]}, folds SHA-256 {facts.folds_digest[:16]}.",
            "Not for clinical use.",
        ],
    )


def _lead(facts: RunFacts) -> str:
    trained = f"Recipe {facts.recipe_name}, {counted(len(facts.folds), 'fold')}"
    if facts.evidence is None:
        return f"{trained}. No fold is finished yet: there is nothing to score."
    metrics = facts.evidence.metrics
    return (
        f"{trained}. {metrics.images:,} chest X-rays, {metrics.positives:,} with a pneumothorax, each predicted by the"
        " network that was not trained on it: how good the predictions are, where they are wrong, and what it took."
    )


def _notices(facts: RunFacts) -> Iterator[Notice]:
    done = [one.fold for one in facts.folds if one.state == "finished"]
    if len(done) < len(facts.folds):
        scored = f" The scores are of {_folds(done)}, and will change." if done else ""
        text = f"Not finished: {len(done)} of {counted(len(facts.folds), 'fold')} are trained.{scored}"
        yield Notice(kind="Warning", text=text)
    elif not facts.is_finished:
        yield Notice(
            kind="Warning",
            text="All folds are trained, and the metrics are not written yet: job/ensemble.py finishes the run.",
        )
    if facts.evidence is not None:
        yield score_sections.verdict(facts.evidence)
    has_pictures = facts.reader is not None and facts.evidence is not None and facts.evidence.masks
    if has_pictures or facts.excluded:
        content = "X-rays of patients with their ids" if has_pictures else "ids of patients' X-rays"
        yield Notice(kind="Note", text=f"This page contains {content}. Show it only where the dataset may be shown.")


def _folds(numbers: list[int]) -> str:
    return f"fold{'s' * (len(numbers) > 1)} {listed(numbers)}"


def _sections(facts: RunFacts) -> Iterator[Section]:
    evidence = facts.evidence
    if not facts.is_finished:
        yield training_sections.progress(facts)
    if evidence is not None:
        yield score_sections.scores(evidence)
        yield caveats(facts)
        yield score_sections.folds(evidence)
        yield presence_sections.presence(evidence)
        yield decision_rule(evidence)
        yield subgroups(facts, evidence)
        yield errors(evidence, facts.drains)
        yield cases(facts, evidence)
    yield training_sections.learning_curves(facts)
    yield training_sections.time_and_memory(facts)
    yield training_sections.recipe(facts)
    yield dataset(facts)


def caveats(facts: RunFacts) -> Section:
    """Return the section on what to keep in mind when the scores are read."""
    assert facts.evidence is not None
    metrics = facts.evidence.metrics
    items = [f"{one[:1].upper()}{one[1:]}." for one in metrics.caveats]
    items.append(
        f"Each out-of-fold prediction is of {counted(metrics.networks, 'network')}, a submission the mean of"
        f" {metrics.submission_networks}."
    )
    return Section(title="Caveats", blocks=[Points(items=items)])


def dataset(facts: RunFacts) -> Section:
    """Return the section on the dataset: patients, excluded images, and what is odd."""
    blocks: list[Block] = [Prose(paragraphs=[facts.patients])]
    if facts.excluded:
        found = [f"{image_id}: {what}" for image_id, what in facts.excluded.items()]
        summary = f"{counted(len(found), 'damaged image')} left out of training and scores"
        blocks.append(Details(summary=summary, blocks=[Points(items=found)]))
    if facts.reader is None:
        blocks.append(Prose(paragraphs=["What is odd about its images is shown with --dataset DATASET."]))
    else:
        odd = oddities.describe(facts.reader.table)
        blocks.append(Points(items=odd) if odd else Prose(paragraphs=["Nothing odd about its images is known."]))
    return Section(title="Dataset", blocks=blocks)
