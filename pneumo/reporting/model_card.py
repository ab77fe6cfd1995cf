"""The model card of an exported model: what it is for, what it was trained on, how good it is, and how to use it.

The sections are those of Mitchell et al., Model Cards for Model Reporting, 2019. Every figure is from the run's own
metrics and predictions; what is not known is said to be not measured. Markdown, so that it can be read anywhere.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pneumo.inference import onnx_export
from pneumo.inference.decision_rule import DecisionRule
from pneumo.inference.metrics import Metrics, Scores, describe_move
from pneumo.inference.subgroups import Subgroup
from pneumo.inference.verdict import judge
from pneumo.reporting import card_program
from pneumo.runtime.errors import counted

GROUPED_BY = {
    "patients csv": "All images of a patient are in one fold, by a list of patients that came with the data.",
    "dicom": "All images of a patient are in one fold, by the patient ids in the DICOM files.",
    "none": "No patients were known: images of one patient may be in several folds, and the scores may be too high.",
}
NOT_MEASURED = "not measured"


@dataclass(frozen=True, kw_only=True)
class CardFacts:
    """What a model card is made of."""

    recipe_name: str
    recipe: Sequence[str]
    """Sentences."""
    size: int
    """Height and width of the network's input in pixels."""
    presence_head: bool
    min_component: float
    """Smallest component of a mask that ``job/predict.py`` leaves, in pixels of a 1024x1024 image; 0 = all."""
    metrics: Metrics
    rule: DecisionRule
    subgroups: Mapping[str, Sequence[Subgroup]]
    """By variable, such as ``sex``."""
    dataset_digest: str
    folds_digest: str
    grouped_by: str
    encoder_sha256: str
    """Of the encoder's first weights; empty when they were random."""
    trained_with: str
    """Version of pneumo."""
    exported_with: str
    onnx: str
    """What model.onnx was compared with torch on; empty without model.onnx."""
    libraries: Mapping[str, str]
    """Versions by name, at the export."""


def render(facts: CardFacts) -> str:
    """Return the model card as Markdown."""
    sections = {
        "": _summary,
        "Intended use": _use,
        "Data": _data,
        "Training": lambda facts: (f"- {sentence}" for sentence in facts.recipe),
        "Scores": _scores,
        "Subgroups": _subgroups,
        "Decision rule": _rule,
        "Limits": _limits,
        "How to use it": _usage,
        "Versions": _versions,
    }
    blocks = [f"# Pneumothorax segmentation in chest X-rays, recipe `{facts.recipe_name}`"]
    for title, section in sections.items():
        blocks += [f"## {title}"] * bool(title) + ["\n".join(section(facts))]
    return "\n\n".join(blocks) + "\n"


def _summary(facts: CardFacts) -> Iterator[str]:
    metrics = facts.metrics
    yield "**Not for clinical use.** This is a research model, no medical device; nobody has tested it on patients."
    yield ""
    low, high = metrics.nested.dice_interval
    yield (
        f"{counted(metrics.submission_networks, 'network')}. Dice on {counted(metrics.images, 'image')}, each predicted"
        f" by the network that was not trained on it: {metrics.nested.dice:.3f} ({low:.3f} to {high:.3f}). Calling"
        f" every image empty: {metrics.dice_all_empty:.3f}."
    )
    verdict = judge(metrics)
    if verdict.standing != "better":
        yield ""
        yield f"**{verdict.text}**"


def _use(facts: CardFacts) -> Iterator[str]:
    yield "It marks where a pneumothorax, air between lung and chest wall, is seen in a frontal chest X-ray."
    yield ""
    yield "- For: research on segmentation, comparison with other models, teaching."
    yield (
        "- Not for: diagnosis, triage, or any other decision about a patient; other modalities and other views"
        " (lateral, lying on the side); children, or images of another hospital, unless you have tested it on such"
        " images."
    )


def _data(facts: CardFacts) -> Iterator[str]:
    metrics = facts.metrics
    share = metrics.positives / metrics.images
    yield (
        f"- {counted(metrics.images, 'labeled image')}, {metrics.positives} ({share:.1%}) with a pneumothorax, of"
        f" {counted(metrics.patients, 'patient')}; {counted(len(metrics.folds), 'fold')}."
    )
    yield f"- {GROUPED_BY.get(facts.grouped_by, 'How patients are grouped: ' + NOT_MEASURED + '.')}"
    if metrics.excluded:
        yield f"- {counted(metrics.excluded, 'damaged image')} left out of training and scores."
    yield f"- Dataset `{facts.dataset_digest}`, folds `{facts.folds_digest}` (SHA-256 of the tables, not of a file)."
    yield f"- Hospitals, machines, and how the labels were made: {NOT_MEASURED}; ask whoever gave you the data."


def _scores(facts: CardFacts) -> Iterator[str]:
    metrics = facts.metrics
    yield (
        "Dice is the mean over images of 2 |prediction and truth| / (|prediction| + |truth|), and 1 where both are"
        " empty. Each image was predicted by the one network that was not trained on it (out-of-fold). *Nested*: by a"
        " decision rule that was chosen on other images. *In-sample*: by the rule that was chosen on all of"
        " these images."
    )
    yield ""
    yield from _table(
        ("", "Dice", "Dice, positive images", "Dice, empty images", "sensitivity", "specificity"),
        [
            ("nested", *_score_cells(metrics.nested, metrics.nested.dice_interval)),
            ("in-sample", *_score_cells(metrics.in_sample, None)),
            ("every image empty", f"{metrics.dice_all_empty:.3f}", "0.000", "1.000", "0.000", "1.000"),
        ],
    )
    yield ""
    low, high = metrics.dice_over_empty_interval
    yield (
        f"Nested minus every image empty: {metrics.dice_over_empty:+.3f} ({low:+.3f} to {high:+.3f}). In brackets: 95 %"
        f" intervals of a bootstrap over {counted(metrics.patients, 'patient')}, {metrics.bootstrap_resamples}"
        " resamples."
    )
    yield (
        f'Area under the ROC curve of "has a pneumothorax": presence head {_number(metrics.auc.presence_head)}, highest'
        f" pixel {_number(metrics.auc.max_pixel)}."
    )
    yield ""
    yield from _table(
        ("fold", "images", "positive", "every image empty", "Dice", "Dice, positive images", "Dice, empty images"),
        [
            (fold.fold, fold.images, fold.positives, f"{fold.dice_all_empty:.3f}", *_score_cells(fold, None)[:3])
            for fold in metrics.folds
        ],
    )


def _subgroups(facts: CardFacts) -> Iterator[str]:
    yield (
        "Nested scores of parts of the images. Compare a Dice with that of calling every image of the same group"
        " empty. Intervals of few patients are wide, and say little."
    )
    for variable in ("sex", "age", "view", "pixel spacing", "lesion"):
        yield ""
        if variable not in facts.subgroups:
            yield f"By {variable}: {NOT_MEASURED} (`job/export.py --dataset` measures it)."
            continue
        yield f"By {variable}{', positive images alone; area at 1024 x 1024 px' if variable == 'lesion' else ''}:"
        yield ""
        yield from _table(
            ("", "images", "positive", "patients", "every image empty", "Dice", "sensitivity", "specificity"),
            [_subgroup_row(group) for group in facts.subgroups[variable]],
        )


def _subgroup_row(group: Subgroup) -> tuple[object, ...]:
    dice, *_, sensitivity, specificity = _score_cells(group.scores, group.dice_interval)
    counts = group.images, group.positives, group.patients
    return group.name, *counts, f"{group.dice_all_empty:.3f}", dice, sensitivity, specificity


def _rule(facts: CardFacts) -> Iterator[str]:
    yield f"{facts.rule.describe()[0].upper()}{facts.rule.describe()[1:]}. `thresholds.json` has the numbers."
    moved = facts.metrics.submission_rule
    if moved is not None:
        yield ""
        scores = "The scores above are by the rule of single networks"
        own = f"{scores}, and this is that of their mean, whose probabilities are less extreme"
        same = f"{scores}, which decides about their mean, too"
        yield f"{own if moved.enough_positive else same}: {describe_move(moved)}."


def _limits(facts: CardFacts) -> Iterator[str]:
    yield from (f"- {caveat[0].upper()}{caveat[1:]}." for caveat in facts.metrics.caveats)
    yield f"- Images of other hospitals, machines and populations: {NOT_MEASURED}."
    yield f"- Agreement between radiologists on these images, and with this model: {NOT_MEASURED}."
    if not any(facts.subgroups.get(name) for name in ("sex", "age", "view")):
        yield f"- Differences between sexes, ages and views: {NOT_MEASURED}."
    yield "- Skin folds, bedding, tubes and the edges of ribs and scapulae can look like a pneumothorax, or hide one."
    yield (
        "- Treated patients have a chest drain: whether the networks see the air or the drain was " + NOT_MEASURED + "."
    )
    yield "- The rule maximizes the Dice above, in which any mask on an empty image scores 0, and not sensitivity."


def _usage(facts: CardFacts) -> Iterator[str]:
    yield "With pneumo, on a directory of DICOM, PNG or JPEG files:"
    yield ""
    yield from ("```bash", "python job/predict.py --run MODEL/ --dicom FILES/ --out RESULTS/", "```")
    if not facts.onnx:
        yield ""
        yield "This export has no `model.onnx`."
        return
    yield ""
    yield (
        "Without it, `model.onnx` is the mean of all networks and views, in 32-bit arithmetic. It needs no other file"
        " but `model.onnx.data`, where there is one; the program below also reads `thresholds.json` where the decision"
        " is by expected score."
    )
    yield ""
    described = onnx_export.describe(facts.size, presence_head=facts.presence_head)
    yield from (f"- `{name}`: {text}" for name, text in described.items())
    yield ""
    yield from ("```python", *card_program.write(facts.rule, facts.size, presence_head=facts.presence_head), "```")
    yield ""
    yield (
        f"Compared with torch at the export, {facts.onnx}: no probability differs by more than 0.0001. `job/predict.py`"
        " makes images smaller in another way than the program above, and computes in the run's precision: a mask may"
        " differ in a few pixels."
    )
    if facts.min_component > 0:
        yield (
            f"It also removes components of a mask below {facts.min_component:g} px (of 1024x1024), which the program"
            " leaves in it."
            + " The scores are of masks without them."
            * (facts.metrics.min_component == facts.min_component)
        )


def _versions(facts: CardFacts) -> Iterator[str]:
    libraries = ", ".join(f"{name} {version}" for name, version in facts.libraries.items())
    yield f"- Trained with pneumo {facts.trained_with}; exported with pneumo {facts.exported_with}, {libraries}."
    weights = f"SHA-256 `{facts.encoder_sha256}`" if facts.encoder_sha256 else "random"
    yield f"- First weights of the encoder: {weights}."
    yield "- `model.json` has the recipe, and size and SHA-256 of every file."


def _score_cells(scores: Scores, interval: tuple[float, float] | None) -> tuple[str, ...]:
    dice = f"{scores.dice:.3f}" + ("" if interval is None else f" ({interval[0]:.3f} to {interval[1]:.3f})")
    others = scores.dice_positive, scores.dice_empty, scores.sensitivity, scores.specificity
    return dice, *map(_number, others)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> Iterator[str]:
    for row in (header, ["---"] * len(header), *rows):
        yield f"| {' | '.join(map(str, row))} |"
