"""The decision rule and the metrics of a blend: several runs whose networks are averaged.

The rule of a run is chosen on single networks, and a mean has fewer extreme probabilities. Where the runs have the same
folds, the networks of a fold in all runs have not seen its images: their mean is predicted on them, and the rule is
searched for on these predictions, as for a run; like a run's, it is then moved to where it suits the mean over the
folds too. Elsewhere the rule is the mean of the runs' rules.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pneumo.dataset.manifest import Manifest
from pneumo.inference import metrics
from pneumo.inference.blend import RunRule, blend_rules
from pneumo.inference.config import RuleSource
from pneumo.inference.decision_rule import DecisionRule, read_rule
from pneumo.inference.evaluation import compute_metrics, score_by_fold_rules
from pneumo.inference.histograms import PredictionHistograms
from pneumo.inference.metrics import BlendedRun, Metrics
from pneumo.inference.nested import NestedEstimate
from pneumo.inference.network_mean import NetworkMean
from pneumo.inference.out_of_fold import predict_mean_histograms
from pneumo.inference.rule_choice import choose
from pneumo.inference.submission_rule import find_submission_rule, unseen_images
from pneumo.inference.verdict import warn_unless_better
from pneumo.runtime import documents
from pneumo.runtime.console import log
from pneumo.runtime.errors import UserError
from pneumo.runtime.files import remove_temporary_files
from pneumo.training.fold_results import read_histograms
from pneumo.training.run_directory import RunDirectory
from pneumo.training.run_metrics import caveats, was_trained_on

METRICS_FIELDS = ("format_version", "nested", "folds")
"""Of the metrics of any version, by which a file is known."""


@dataclass(frozen=True)
class ChosenRule:
    """The decision rule of an ensemble."""

    rule: DecisionRule
    metrics: Metrics | None
    """Those of a blend whose rule was searched for."""


def metrics_path(out: Path) -> Path:
    """Return where the metrics of the blend of a submission are written: blend.metrics.json beside blend.csv."""
    return out.with_name(f"{out.stem}.metrics.json")


def is_of_a_blend(path: Path) -> bool:
    """Return whether a file has the metrics of a blend, of any version; those of a run may be a copy of the user's."""
    try:
        found = documents.read(path)
    except (OSError, ValueError):
        return False
    return found.keys() >= set(METRICS_FIELDS) and bool(found.get("runs"))


def choose_rule(
    runs: Sequence[RunDirectory], mean: NetworkMean, source: RuleSource, min_component: float = 0.0
) -> ChosenRule:
    """Return the decision rule of one or more finished runs, and the metrics of a blend. Collective.

    Args:
        runs: The runs, whose metrics are written.
        mean: Their networks, and the dataset.
        source: How the rule of several runs is found: ``auto`` = ``out-of-fold`` where the runs have the same folds.
            ``unmoved`` = as ``auto``, or of a single run, before any rule is moved to where it suits the mean.
        min_component: Components smaller than this are removed from the masks, in pixels of a 1024x1024 image.

    Raises:
        UserError: When the rule cannot be found this way.
    """
    if len(runs) == 1:
        return ChosenRule(_rule_of_run(runs[0], mean, source, min_component), None)
    obstacle = mean.world.on_leader(lambda: _obstacle(runs, mean))
    if source == "mean" or (source != "out-of-fold" and obstacle):
        rules = mean.world.on_leader(lambda: _run_rules(runs, source))
        rule = blend_rules(rules, [run.weight for run in mean.runs])
        if mean.world.is_leader:
            log.warning(
                "the decision rule is the mean of the runs' rules (%s): no metrics are known for this blend",
                obstacle or "--rule mean",
            )
        return ChosenRule(rule, None)
    if obstacle:
        raise UserError(f"--rule out-of-fold: {obstacle}", "runs and dataset with the same folds", "give --rule mean")
    return _search(runs, mean, source, min_component)


def publish_metrics(out: Path, results: Metrics | None) -> None:
    """Write the metrics beside the submission that they describe, or remove those of an earlier one in its place."""
    path = metrics_path(out)
    remove_temporary_files(path.parent, path.name)
    if results is None:
        if is_of_a_blend(path):
            path.unlink()
        return
    metrics.write(path, results)
    log.info("wrote %s", path)


def _obstacle(runs: Sequence[RunDirectory], mean: NetworkMean) -> str:
    """Say why the runs have no out-of-fold predictions in common; an empty string when they have."""
    manifest = Manifest.read(mean.reader.dataset)
    for run in runs:
        if run.dataset.digest != manifest.samples_digest:
            return f"{run.path} was not trained on {mean.reader.dataset}"
        if run.dataset.folds_digest != manifest.folds_digest:
            return f"{run.path} has other folds than {mean.reader.dataset}"
    return ""


def _rule_of_run(run: RunDirectory, mean: NetworkMean, source: RuleSource, min_component: float) -> DecisionRule:
    """Return a run's rule; one that was never moved is moved on the test images of this submission. Collective."""

    def read() -> tuple[DecisionRule, bool, list[str]]:
        found = metrics.read(run.metrics)
        warn_unless_better(run.path, found)
        for caveat in metrics.other_removal(found.min_component, min_component):
            log.warning("%s: %s", run.path, caveat)
        if source == "unmoved":
            return _unmoved(run), False, []
        rule = read_rule(run.thresholds)
        was_found_here = found.submission_rule is not None and was_trained_on(run, Manifest.read(mean.reader.dataset))
        # A rule that was moved before, or that somebody has changed by hand, stays as it is.
        to_move = not was_found_here and rule == DecisionRule.from_probabilities(found.in_sample.rule)
        if not to_move:
            return rule, False, []
        try:
            return rule, True, [*read_histograms(run).image_id.tolist(), *run.dataset.all_excluded]
        except UserError as error:
            log.warning("the rule of single networks decides, as the images it was chosen on are not known: %s", error)
            return rule, False, []

    rule, to_move, seen = mean.world.on_leader(read)
    images = unseen_images(mean.reader.table, seen)
    moved = find_submission_rule(rule, mean, images, min_component) if to_move else None
    if moved is None:
        return rule
    if mean.world.is_leader:
        log.info("%s, for this submission alone: %s", run.path, metrics.describe_move(moved))
    return DecisionRule.from_probabilities(moved.rule)


def _unmoved(run: RunDirectory) -> DecisionRule:
    """Return the rule of a run's single networks."""
    found = metrics.read(run.metrics)
    rule = DecisionRule.from_probabilities(found.in_sample.rule)
    if read_rule(run.thresholds) not in (rule, metrics.rule_for_new_images(found)):
        text = "--rule unmoved takes the rule of %s, and not that of %s, which was changed since"
        log.warning(text, run.metrics, run.thresholds)
    return rule


def _run_rules(runs: Sequence[RunDirectory], source: RuleSource) -> list[RunRule]:
    """Return each run's rule, or that of its single networks."""
    rules = [_unmoved(run) if source == "unmoved" else read_rule(run.thresholds) for run in runs]
    return [RunRule(str(run.path), rule, run.recipe.model.presence_head) for run, rule in zip(runs, rules, strict=True)]


def _search(runs: Sequence[RunDirectory], mean: NetworkMean, source: RuleSource, min_component: float) -> ChosenRule:
    """Search for the rule on the mean's out-of-fold predictions. Collective."""
    excluded = {image_id: reason for run in runs for image_id, reason in run.dataset.excluded.items()}
    num_folds = runs[0].dataset.num_folds
    histograms = predict_mean_histograms(mean, num_folds, excluded, min_component=min_component)

    def choose_now() -> NestedEstimate:
        assert histograms is not None
        return choose(histograms)

    nested = mean.world.on_leader(choose_now)
    rows = unseen_images(mean.reader.table)
    moved = None if source == "unmoved" else find_submission_rule(nested.final, mean, rows, min_component)

    def compute() -> ChosenRule:
        assert histograms is not None
        positives = int(histograms.positive.sum())
        found = replace(
            compute_metrics(histograms, nested),
            submission_rule=moved,
            networks=sum(run.recipe.best_checkpoints for run in runs),
            submission_networks=sum(run.recipe.best_checkpoints for run in runs) * runs[0].dataset.num_folds,
            runs=[
                BlendedRun(run=str(run.path), weight=each.weight, nested_dice=metrics.read(run.metrics).nested.dice)
                for run, each in zip(runs, mean.runs, strict=True)
            ],
            mean_of_rules=_score_mean_of_rules(runs, mean, histograms),
            excluded=len(excluded),
            caveats=list(dict.fromkeys(caveat for run in runs for caveat in caveats(run, len(histograms), positives))),
        )
        log.info("the blend's metrics:\n%s", metrics.describe(found))
        for caveat in found.caveats:
            log.warning("%s", caveat)
        warn_unless_better("the blend", found)
        return ChosenRule(metrics.rule_for_new_images(found), found)

    return mean.world.on_leader(compute)


def _score_mean_of_rules(
    runs: Sequence[RunDirectory], mean: NetworkMean, histograms: PredictionHistograms
) -> metrics.Scores | None:
    """Score each fold by the mean of the rules that each run chose on the other folds; None where there is no mean."""
    of_runs = [metrics.read(run.metrics).folds for run in runs]
    if any([fold.fold for fold in folds] != list(range(runs[0].dataset.num_folds)) for folds in of_runs):
        return None  # a single fold, which is scored in halves
    rules = []
    for folds in zip(*of_runs, strict=True):
        of_fold = [
            RunRule(str(run.path), DecisionRule.from_probabilities(fold.rule), run.recipe.model.presence_head)
            for run, fold in zip(runs, folds, strict=True)
        ]
        try:
            rules.append(blend_rules(of_fold, [run.weight for run in mean.runs]))
        except UserError:
            return None
    return score_by_fold_rules(histograms, histograms.fold.astype(int), rules)
