"""The section with pictures: true and predicted outlines where the run is right and where it is wrong."""

from pneumo.dataset.shard_reader import ShardReader
from pneumo.inference.histograms import equivalent_area
from pneumo.inference.nested import predicted_area
from pneumo.loading.images import read_image
from pneumo.masks import rle
from pneumo.reporting.html import pictures
from pneumo.reporting.html.page import Block, Figure, Figures, Heading, Prose, Section
from pneumo.reporting.report.cases import KINDS, choose
from pneumo.reporting.report.facts import Evidence, RunFacts
from pneumo.runtime.errors import UserError, counted

FACTORS = (8, 4, 2, 1)
"""By which an image can be decoded smaller, which is faster."""
LEGEND = (
    "The true outline is a solid line, the predicted one a dashed line. Areas are in pixels of a 1024x1024 image;"
    " presence is the presence head's probability."
)


def cases(facts: RunFacts, evidence: Evidence) -> Section:
    """Return the section; without the dataset, or before the run is finished, it says why there are no pictures."""
    title = "Cases"
    if facts.reader is None:
        return _empty(title, "Pictures need the dataset: job/report.py --run RUN --dataset DATASET.")
    if not evidence.masks:
        return _empty(title, "Pictures are shown when all folds are finished: their masks are predicted then.")
    rows = {str(facts.reader.table.image_id[row]): row for row in facts.reader.table.select("train").tolist()}
    blocks: list[Block] = [Prose(paragraphs=[LEGEND])]
    unreadable = 0
    for kind, indices in choose(evidence.histograms, evidence.nested).items():
        figures = []
        for i in indices:
            try:
                figures.append(_figure(i, evidence, facts.reader, rows[str(evidence.histograms.image_id[i])]))
            except (UserError, rle.RleError):
                unreadable += 1
        blocks += [Heading(title=kind), Prose(paragraphs=[KINDS[kind] if indices else f"{KINDS[kind]} There is none."])]
        blocks += [Figures(items=figures, size="small")] * bool(figures)
    if unreadable:
        text = f"{counted(unreadable, 'image')} could not be read from the dataset: check it with job/verify.py."
        blocks.append(Prose(paragraphs=[text]))
    return Section(title=title, blocks=blocks)


def _empty(title: str, text: str) -> Section:
    return Section(title=title, blocks=[Prose(paragraphs=[text])])


def _figure(i: int, evidence: Evidence, reader: ShardReader, row: int) -> Figure:
    histograms, nested = evidence.histograms, evidence.nested
    shape = reader.table.shape(row)
    factor = next(one for one in FACTORS if max(shape) >= one * pictures.SIDE or one == 1)
    truth = rle.decode(reader.rle(row), *shape)
    prediction = rle.decode(evidence.masks[str(histograms.image_id[i])], *shape)
    caption = f"{histograms.image_id[i]}, fold {histograms.fold[i]}: {_words(i, evidence)}"
    return Figure(
        content=pictures.draw(
            read_image(reader, row, factor),
            f"Chest X-ray, {'with' if histograms.positive[i] else 'without'} a pneumothorax, Dice {nested.dice[i]:.2f}",
            truth=truth if truth.any() else None,
            prediction=prediction if prediction.any() else None,
        ),
        caption=caption,
    )


def _words(i: int, evidence: Evidence) -> str:
    histograms, nested = evidence.histograms, evidence.nested
    lesion = float(equivalent_area(histograms.truth[i], histograms.pixels[i]))
    predicted = float(predicted_area(histograms, nested)[i]) if nested.predicted_positive[i] else 0.0
    presence = histograms.presence_probability[i]
    probability = f", presence {presence:.2f}" if presence == presence else ""  # noqa: PLR0124 (not NaN)
    areas = ", ".join(f"{name} {area:,.0f} px" for name, area in (("lesion", lesion), ("predicted", predicted)) if area)
    return f"Dice {nested.dice[i]:.2f}, {areas}{probability}"
