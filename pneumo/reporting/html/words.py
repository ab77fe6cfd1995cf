"""Numbers as all pages write them."""

import math

UNDEFINED = "-"
"""What is undefined, not known or was not recorded."""


def percent(value: float, digits: int = 1) -> str:
    """Return a share as a percentage with so many decimals; ``UNDEFINED`` for NaN."""
    return UNDEFINED if math.isnan(value) else f"{100 * value:.{digits}f} %"
