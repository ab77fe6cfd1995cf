"""The view that View Code Sequence names, PS3.3 C.8.11.5.1.2: one code of PS3.16 CID 4010, DX View."""

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from pneumo.dicom.values import text

SEQUENCE = "ViewCodeSequence"

_SCHEMES = frozenset({"SCT", "SRT", "SNM3", "99SDM"})
"""Designators of SNOMED CT and, PS3.16 8.2, of the codes by letter that it had before."""
_CODES = {
    "FRONTAL": "399033003 R-10202",
    "AP": "399348003 R-10206",
    "PA": "272479007 R-10214 R-40888",
    "LATERAL": """
        399067008 R-102CD  399352003 R-10228  399260004 R-10224  30730003 R-10222 G-A145
    """,
    "LL": "399173006 R-10236",
    "RL": "399198007 R-10232",
    "OBLIQUE": """
        399182000 R-102C1  399160007 R-10204  399132005 R-10252  399325008 R-10254  399004004 R-10246
        399312000 R-10208  399059000 R-10216  399135007 R-10220  399356000 R-10218 R-40985
        399006002 R-10212  399038007 R-10210  399184004 R-10238  399236003 R-10234
        260427002 R-40783  260426006 R-40782  399099002 R-10230  399368009 R-10226
        399225005 R-10250  399288005 R-10248
    """,
}
"""Codes by the view in the words of ``projection``: SNOMED CT, then as it was coded before. Lateral are also those from
side to middle, and sagittal ones. The codes that are left are of no chest: skull, foot, breast, specimen."""
_VIEWS = {code: view for view, codes in _CODES.items() for code in codes.split()}


def read(dataset: Dataset) -> str:
    """Return the view of a dataset's first view code; empty when it has none, or one that is not known; never raises.

    Pneumo's other elements are read without conversion; a sequence has to be.
    """
    try:
        items = dataset[SEQUENCE].value if SEQUENCE in dataset else None
        item = items[0] if isinstance(items, Sequence) and items else None
        if item is None or text(item, "CodingSchemeDesignator").upper() not in _SCHEMES:
            return ""
        return _VIEWS.get(text(item, "CodeValue").upper(), "")
    except Exception:  # on damaged bytes pydicom raises errors of every kind
        return ""
