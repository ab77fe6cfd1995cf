"""Images without a label, kept with ``job/shard.py --keep-unlabeled``: which of them a fold may learn from.

Nothing is ever scored on them. What a network says of an image of a patient whom fold k validates on tells of that
patient, though, and an image that is there twice may be a validation or a test image under another id. So a fold learns
neither from unlabeled images of its own patients, nor from any copy.
"""

import numpy as np

from pneumo.dataset.table import Rows, SampleTable


def usable(table: SampleTable, fold: int) -> Rows:
    """Return the unlabeled rows that the training of a fold may use, in ascending order.

    Left out are those of a patient who has an image in the fold, which scores what is trained, and all ``copies``. An
    image of an unknown patient is taken for a patient of its own, as among the labeled images.

    Args:
        table: The dataset's table.
        fold: The fold whose images validate.
    """
    rows = table.select("unlabeled")
    own = table.patient[table.select("train", {fold})]
    # Of several copies one is used, which may be said to be another patient's.
    barred = table.sha256[rows[np.isin(table.patient[rows], own[own >= 0])]]
    rows = np.setdiff1d(rows, copies(table))
    return rows[~np.isin(table.sha256[rows], barred)]


def copies(table: SampleTable) -> Rows:
    """Return the unlabeled rows whose image has the bytes of an earlier row's, or the id of a test image."""
    rows = table.select("unlabeled")
    _, first = np.unique(table.sha256, return_index=True)
    is_copy = np.ones(len(table), np.bool_)
    is_copy[first] = False
    is_copy |= np.isin(table.image_id, table.image_id[table.select("test")])
    return rows[is_copy[rows]]
