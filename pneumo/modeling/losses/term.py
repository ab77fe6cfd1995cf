"""What a term of the loss is. The flags need it, so that it imports no torch."""

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Interval

Weight = Annotated[float, Interval(ge=0, le=1e38)]
"""Weight of a term: float32 ends at three times the largest. A sum that overflows is found in training."""


@dataclass(frozen=True)
class Term:
    """A term of the loss.

    Args:
        function: Dotted name of a function that takes ``LossInputs`` and returns one number per image, (N,), each a
            function of that image alone, or of its micro-batch. It is imported when a loss is computed, not when flags
            are read.
        options: Names of ``LossConfig``'s fields that the function takes by keyword beside the ``LossInputs``.
        output: The output of the network that the term is on.
    """

    function: str
    options: tuple[str, ...] = ()
    output: Literal["mask", "presence"] = "mask"
