"""What a pneumothorax is, how it looks, and how such labels are made: the words around the figures."""

from dataclasses import dataclass

from markupsafe import Markup

from pneumo.reporting.html.page import Block, Heading, Notice, Points, Prose, Section, Text, link


@dataclass(frozen=True, kw_only=True)
class Reference:
    """A publication."""

    authors: str
    title: str
    where: str
    url: str


REFERENCES = {
    "macduff": Reference(
        authors="MacDuff A, Arnold A, Harvey J",
        title="Management of spontaneous pneumothorax: British Thoracic Society pleural disease guideline 2010",
        where="Thorax 65 (Suppl 2): ii18-ii31, 2010",
        url="https://doi.org/10.1136/thx.2010.136986",
    ),
    "omar": Reference(
        authors="Omar HR, Abdelmalak H, Mangar D, et al.",
        title="Occult pneumothorax, revisited",
        where="Journal of Trauma Management & Outcomes 4: 12, 2010",
        url="https://doi.org/10.1186/1752-2897-4-12",
    ),
    "filice": Reference(
        authors="Filice RW, Stein A, Wu CC, et al.",
        title="Crowdsourcing pneumothorax annotations using machine learning annotations on the NIH chest X-ray "
        "dataset",
        where="Journal of Digital Imaging 33: 490-496, 2020",
        url="https://doi.org/10.1007/s10278-019-00299-9",
    ),
    "wang": Reference(
        authors="Wang X, Peng Y, Lu L, et al.",
        title="ChestX-ray8: hospital-scale chest X-ray database and benchmarks on weakly-supervised classification and "
        "localization of common thorax diseases",
        where="CVPR 2017, pages 2097-2106",
        url="https://arxiv.org/abs/1705.02315",
    ),
    "exploring": Reference(
        authors="Oakden-Rayner L",
        title="Exploring large-scale public medical image datasets",
        where="Academic Radiology 27: 106-112, 2020",
        url="https://doi.org/10.1016/j.acra.2019.10.006",
    ),
    "hidden": Reference(
        authors="Oakden-Rayner L, Dunnmon J, Carneiro G, Ré C",
        title="Hidden stratification causes clinically meaningful failures in machine learning for medical imaging",
        where="ACM Conference on Health, Inference, and Learning 2020, pages 151-159",
        url="https://doi.org/10.1145/3368555.3384468",
    ),
    "zech": Reference(
        authors="Zech JR, Badgeley MA, Liu M, et al.",
        title="Variable generalization performance of a deep learning model to detect pneumonia in chest radiographs: "
        "a cross-sectional study",
        where="PLoS Medicine 15: e1002683, 2018",
        url="https://doi.org/10.1371/journal.pmed.1002683",
    ),
    "wilson": Reference(
        authors="Wilson EB",
        title="Probable inference, the law of succession, and statistical inference",
        where="Journal of the American Statistical Association 22: 209-212, 1927",
        url="https://doi.org/10.1080/01621459.1927.10502953",
    ),
}
"""The publications that the page refers to, in the order of their numbers."""


def cite(*names: str) -> Markup:
    """Return the numbers of references, each a link to its entry, such as [1, 3]."""
    numbers = [list(REFERENCES).index(name) + 1 for name in names]
    links = Markup(", ").join(Markup('<a href="#references">{}</a>').format(number) for number in numbers)
    return Markup("[{}]").format(links)


def pneumothorax(examples: list[Block]) -> Section:
    """Return the section on the disease.

    Args:
        examples: Pictures of the dataset that show what the text says; none in a dataset without a positive image.
    """
    signs = [
        "A thin white line, the edge of the lung (visceral pleura), that runs about parallel to the chest wall.",
        "No vessels between this line and the chest wall: the air there is darker than lung, and empty.",
        "On an upright image the air rises: look at the apex, above and beside the upper ribs.",
        "On a supine image, as in intensive care (mostly AP), the air lies in front of the lung: a deep and dark "
        "costophrenic angle (deep sulcus sign), an unusually sharp diaphragm or heart border. Often there is no line.",
        "Under tension the mediastinum is pushed to the other side: an emergency.",
    ]
    mimics: list[Text] = [
        "Skin folds, mostly on AP views: an edge, not a line, with vessels beyond it.",
        "The border of the shoulder blade, rib edges, clothes, lines and tubes.",
        "Bullae: round, with their own walls.",
        Markup(
            "A chest drain is no sign of air: it shows that there has been a pneumothorax. Networks learn to find the "
            "drain, and miss those who have none yet, who need to be found {}."
        ).format(cite("hidden")),
    ]
    return Section(
        title="Pneumothorax on a chest X-ray",
        blocks=[
            Prose(
                paragraphs=[
                    Markup(
                        "A pneumothorax is air between the lung and the chest wall. The lung gives way and shrinks. It "
                        "comes without a known cause in tall young people, in diseased lungs, after injuries, and "
                        "after procedures such as the placement of a central line or ventilation. Spontaneous ones are "
                        "found in about 18 to 28 of 100,000 men and 1 to 6 of 100,000 women a year {}."
                    ).format(cite("macduff")),
                    Markup(
                        "The upright frontal X-ray finds most of them, the supine one far fewer: sensitivities of 92 % "
                        "and 50 % are reported {}. The British guideline of 2010 calls a rim of 2 cm or more at the "
                        "level of the hilum large {}. The picture is a projection: the area of a mask is no volume."
                    ).format(cite("omar"), cite("macduff")),
                ]
            ),
            *examples,
            Heading(title="What to look for"),
            Points(items=signs),
            Heading(title="What looks like one"),
            Points(items=mimics),
            Notice(kind="Note", text="This page describes a dataset. It is not for diagnosis."),
        ],
    )


def labels() -> Section:
    """Return the section on how labels of this kind are made."""
    return Section(
        title="How the labels are made",
        blocks=[
            Prose(
                paragraphs=[
                    Markup(
                        "<strong>SIIM-ACR.</strong> The images are of NIH ChestX-ray14 {}: frontal X-rays of one "
                        "hospital, with labels that were mined from the text of the reports. For the competition "
                        "physicians drew the regions of air, at first by themselves and then also by correcting "
                        "outlines that a network had proposed, and specialists in thoracic radiology reviewed the "
                        "result. The authors found the proposals faster, with a high sensitivity and a lower "
                        "specificity {}."
                    ).format(cite("wang"), cite("filice")),
                    Markup(
                        "A mask is the region of air, as one or several run-length rows of an image; the rows are "
                        "united. An image with a row of -1 was read and has none. An image without a row was not read: "
                        "it is left out, and is no negative one. The images are 8-bit JPEGs of 1024 x 1024 pixels, so "
                        "a faint pleural line of the original may be lost. Reports and drawn outlines both err; a "
                        "radiologist who looked at ChestX-ray14 found many labels that do not fit the image {}."
                    ).format(cite("exploring")),
                    Markup(
                        "<strong>Other data.</strong> This page knows only what is in the dataset. Who drew the masks, "
                        "with which tool, from which images, and whether somebody else looked again, belongs into the "
                        "description of your data."
                    ),
                ]
            )
        ],
    )


def references() -> Section:
    """Return the list of publications."""
    items = [
        Markup("{}. {}. {}.").format(one.authors.rstrip("."), link(one.title, one.url), one.where)
        for one in REFERENCES.values()
    ]
    return Section(title="References", blocks=[Points(items=items, ordered=True)])
