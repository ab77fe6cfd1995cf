"""comparison.md: the table of a comparison in Markdown, with what it was measured on, and how to read it."""

from collections.abc import Sequence

from pneumo.inference.comparison_json import Comparison, Difference, Score, ScoredVariant
from pneumo.runtime.console import format_seconds
from pneumo.runtime.errors import counted

SCORES = {
    "dice": "nested Dice",
    "dice_over_empty": "gain over all empty",
    "dice_positive": "Dice on positives",
    "auc_presence_head": "AUC, head",
    "auc_max_pixel": "AUC, highest pixel",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
}
"""The columns, by the names of the scores."""
INTERVALS = ("dice", "dice_over_empty")
"""The scores whose intervals are in the table; comparison.json has those of all."""
COLUMNS = {
    "nested Dice": "the mean over images of the competition's Dice, each image under a decision rule that was chosen on"
    " other folds; 1 where mask and prediction are both empty",
    "gain over all empty": "the nested Dice minus that of calling every image empty",
    "Dice on positives": "the mean over the images with a pneumothorax alone",
    "AUC": "how well images with and without a pneumothorax are told apart, .5 by chance and 1 without an error, by the"
    " presence head and by the probability of the highest pixel",
    "sensitivity, specificity": "the share of images with a pneumothorax that get a mask, be it in the right place or"
    " not, and the share of the others that get none",
    "training time": "the epochs of all folds and seeds, without a teacher's",
}
"""What the columns are, for readers who have not seen one."""
NONE = "-"


def describe(comparison: Comparison) -> str:
    """Return the page, Markdown."""
    parts = [
        "# Comparison of variants",
        _list(_facts(comparison)),
        table(comparison),
        *([_in_words(comparison), _differences(comparison)] if len(comparison.variants) > 1 else []),
        *([_by_seed(comparison)] if len(comparison.seeds) > 1 else []),
        "What was trained:",
        _list([f"{variant.name}: {_code(variant.flags)}" for variant in comparison.variants if variant.flags]),
        "The columns:",
        _list([f"{name}: {text}" for name, text in COLUMNS.items()]),
        *(["What makes the scores better than on new images:", _list(comparison.caveats)] * bool(comparison.caveats)),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def table(comparison: Comparison) -> str:
    """Return the one table: a row for each variant, its scores, and its Dice beside that of the first one."""
    first = comparison.variants[0].name if comparison.variants else ""
    columns = [
        "variant",
        *SCORES.values(),
        f"nested Dice - {first}",
        "could be shown",
        "training time",
    ]
    rows = []
    for variant in comparison.variants:
        dice = variant.scores["dice"].difference
        rows.append(
            [
                variant.name,
                *(_score(name, variant.scores.get(name)) for name in SCORES),
                _difference(dice),
                _detectable(dice),
                _training_time(variant),
            ]
        )
    return _table(columns, rows)


def _training_time(variant: ScoredVariant) -> str:
    if variant.networks_of:
        return f"that of {variant.networks_of}"
    return format_seconds(sum(run.seconds for run in variant.runs))


def _facts(comparison: Comparison) -> list[str]:
    folds = ", ".join(map(str, comparison.folds))
    facts = [
        f"{counted(comparison.images, 'image')}, {comparison.positives} with a pneumothorax,"
        f" {counted(comparison.patients, 'patient')}; every image empty has a Dice of {comparison.dice_all_empty:.4f}"
        f" (dataset {comparison.dataset_digest[:12]})",
        f"fold{'s' * (len(comparison.folds) > 1)} {folds} of {comparison.num_folds}; {_seeds(comparison)}",
        f"{comparison.hardware}; pneumo {comparison.pneumo}",
        _code(comparison.command),
        "In brackets: 95 % intervals of the bootstrap over patients. Differences are paired, of the same patients. A"
        " true difference as large as in the column `could be shown` would give an interval without 0 in 80 % of all"
        " samples of as many patients; one that is not shown may be smaller than that.",
        "Another training of the same variant gives other networks, which the intervals do not cover: compare seeds.",
    ]
    if comparison.unfinished:
        facts.append(f"still to be trained: {', '.join(comparison.unfinished)}")
    return facts


def _seeds(comparison: Comparison) -> str:
    seeds = ", ".join(map(str, comparison.seeds))
    if len(comparison.seeds) == 1:
        return f"seed {seeds}"
    of_each = {variant.name: sorted(run.seed for run in variant.runs) for variant in comparison.variants}
    if len(set(map(tuple, of_each.values()))) <= 1:
        return f"seeds {seeds}, whose scores are averaged at each image"
    named = "; ".join(f"{name}: {', '.join(map(str, its))}" for name, its in of_each.items())
    return f"seeds that differ between the variants, which a difference does not tell from their flags ({named})"


def _differences(comparison: Comparison) -> str:
    """Return the table of the differences in all scores."""
    rows = [[variant.name, *_row(variant)] for variant in comparison.variants[1:]]
    # The gain over all empty differs as the Dice does.
    shown = [name for name in SCORES if name != "dice_over_empty"]
    text = f"Differences to {comparison.variants[0].name}:"
    return f"{text}\n\n{_table(['variant', *(SCORES[name] for name in shown)], rows)}"


def _in_words(comparison: Comparison) -> str:
    """Say of each variant whether its nested Dice differs from the first one's, as far as these images show."""
    first = comparison.variants[0].name
    lines = []
    for variant in comparison.variants[1:]:
        found = variant.scores["dice"].difference
        if found is None or found.standard_error == 0:
            text = f"no image has another Dice than with {first}"
        elif found.interval[0] > 0 or found.interval[1] < 0:
            text = f"these networks are {'better' if found.value > 0 else 'worse'} than those of {first}"
        else:
            text = f"not shown to be better or worse than {first}: only about {found.detectable:.3f} would show"
        lines.append(f"{variant.name}: {text}")
    return f"Nested Dice in words:\n\n{_list(lines)}"


def _row(variant: ScoredVariant) -> list[str]:
    found = (variant.scores.get(name) for name in SCORES if name != "dice_over_empty")
    return [_difference(score.difference if score else None) for score in found]


def _by_seed(comparison: Comparison) -> str:
    rows = []
    for variant in comparison.variants:
        dice = {run.seed: f"{run.dice:.4f}" for run in variant.runs}
        rows.append([variant.name, *(dice.get(seed, NONE) for seed in comparison.seeds)])
    return f"Nested Dice by seed:\n\n{_table(['variant', *map(str, comparison.seeds)], rows)}"


def _score(name: str, score: Score | None) -> str:
    if score is None:
        return NONE
    form = "+.4f" if name == "dice_over_empty" else ".4f"
    low, high = (format(end, form) for end in score.interval)
    return f"{score.value:{form}}{f' ({low} to {high})' * (name in INTERVALS)}"


def _detectable(difference: Difference | None) -> str:
    """Return the smallest difference that could be shown; none where no image differs, which says nothing of it."""
    return f"{difference.detectable:.4f}" if difference and difference.standard_error > 0 else NONE


def _difference(difference: Difference | None) -> str:
    if difference is None:
        return NONE
    low, high = difference.interval
    return f"{difference.value:+.4f} ({low:+.4f} to {high:+.4f})"


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---", *["---:"] * (len(columns) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _list(items: Sequence[str]) -> str:
    return "\n".join(f"- {item}" for item in items)


def _code(text: str) -> str:
    return f"`{text}`"
