"""The clinical text: every number in brackets leads to a publication, and each publication is referred to."""

import re
from pathlib import Path

from pneumo.reporting.explore import clinical
from pneumo.reporting.html.page import Points


def test_references_are_numbered_in_their_order() -> None:
    assert clinical.cite("macduff", "filice") == '[<a href="#references">1</a>, <a href="#references">3</a>]'
    (block,) = clinical.references().blocks
    assert isinstance(block, Points)
    assert block.ordered
    assert len(block.items) == len(clinical.REFERENCES)
    assert '<a href="https://doi.org/10.1136/thx.2010.136986" rel="noreferrer">' in block.items[0]


def test_every_publication_is_referred_to_and_has_a_stable_address() -> None:
    source = "".join(path.read_text() for path in Path(clinical.__file__).parent.glob("*.py"))
    cited = set(re.findall(r'"(\w+)"', " ".join(re.findall(r"cite\(([^)]*)\)", source))))
    assert cited == set(clinical.REFERENCES)
    assert all(re.match(r"https://(doi\.org/10\.|arxiv\.org/abs/)", one.url) for one in clinical.REFERENCES.values())
