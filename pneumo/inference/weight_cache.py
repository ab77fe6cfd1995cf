"""Weights of many networks, read once where memory allows it: each block of images is predicted by all of them."""

from collections.abc import Mapping

from torch import Tensor

from pneumo.modeling.trained_weights import TrainedWeights
from pneumo.runtime.machine import available_memory

SHARE = 0.25
"""Of the memory that is available when the first weights are read: what those of all ranks of a machine may take."""


class WeightCache:
    """Reads weights, and keeps those that were read first, as long as they fit.

    All networks are needed in turn, again and again: dropping the oldest would drop each before it is needed.

    Args:
        limit: Bytes to keep.
    """

    def __init__(self, limit: int) -> None:
        self._free = limit
        self._kept: dict[TrainedWeights, Mapping[str, Tensor]] = {}

    def read(self, weights: TrainedWeights) -> Mapping[str, Tensor]:
        """Return the tensors on the CPU; do not change them.

        Raises:
            UserError: When the file is missing, damaged, another one, or has numbers that are not finite.
        """
        if weights in self._kept:
            return self._kept[weights]
        state = weights.read()
        size = sum(value.nbytes for value in state.values())
        if size <= self._free:
            self._free -= size
            self._kept[weights] = state
        return state


def memory_limit(ranks_on_machine: int) -> int:
    """Return the bytes of weights that a rank may keep: the ranks of a machine share its memory evenly."""
    return int(SHARE * available_memory() / ranks_on_machine)
