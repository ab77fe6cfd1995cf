"""The networks of all folds of several runs: all of them on the device where its memory allows it.

Where it does not, each run has one network, into which the weights of one fold after the other are loaded; they are
then kept in the memory of the host, as far as they fit, so that each is read once.
"""

import copy
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from pneumo.inference.predictor import Predictor
from pneumo.modeling.trained_weights import TrainedWeights
from pneumo.runtime.machine import available_memory

SHARE = 0.25
"""Of the memory that is free before the first weights are read: what those of all ranks that share it may take."""


class FoldNetworks:
    """Gives the predictor of each fold of each run.

    Args:
        predictors: A predictor for each run; its network may have any weights.
        weights: The weights of each run's folds.
        device: Of the networks.
        ranks_on_machine: Ranks that share the memory of the machine.
    """

    def __init__(
        self,
        predictors: Sequence[Predictor],
        weights: Sequence[Sequence[TrainedWeights]],
        device: torch.device,
        ranks_on_machine: int = 1,
    ) -> None:
        self._predictors = predictors
        host = memory_limit(torch.device("cpu"), ranks_on_machine)
        total = sum(_size(p.network.state_dict()) * len(folds) for p, folds in zip(predictors, weights, strict=True))
        # On a CPU the networks are the weights in the host's memory.
        self.resident = total <= memory_limit(device, ranks_on_machine)
        self.cache = WeightCache(0 if self.resident else host, pin_memory=device.type == "cuda")
        self._loaded: dict[tuple[int, TrainedWeights], Predictor] = {}

    def predictor(self, run: int, weights: TrainedWeights) -> Predictor:
        """Return the predictor of a fold; unless networks are ``resident``, the one before is of no use any more.

        Args:
            run: Index of the run.
            weights: Of the fold.

        Raises:
            UserError: When the weights cannot be used.
        """
        first = self._predictors[run]
        if not self.resident:
            weights.load(first.network, self.cache.read(weights))
            return first
        if (run, weights) not in self._loaded:
            predictor = copy.copy(first)
            if any(of_run == run for of_run, _ in self._loaded):
                predictor.network = copy.deepcopy(first.network)
            weights.load(predictor.network, weights.read())
            self._loaded[run, weights] = predictor
        return self._loaded[run, weights]


class WeightCache:
    """Reads weights, and keeps those that were read first, as long as they fit.

    All networks are needed in turn, again and again: dropping the oldest would drop each before it is needed.

    Args:
        limit: Bytes to keep.
        pin_memory: Whether a GPU is to read what is kept.
    """

    def __init__(self, limit: int, *, pin_memory: bool = False) -> None:
        self._free, self._pin_memory = limit, pin_memory
        self._kept: dict[TrainedWeights, Mapping[str, Tensor]] = {}

    def read(self, weights: TrainedWeights) -> Mapping[str, Tensor]:
        """Return the tensors on the CPU; do not change them.

        Raises:
            UserError: When the file is missing, damaged, another one, or has numbers that are not finite.
        """
        if weights in self._kept:
            return self._kept[weights]
        state = weights.read()
        size = _size(state)
        if size <= self._free:
            self._free -= size
            if self._pin_memory:
                state = {name: value.pin_memory() for name, value in state.items()}
            self._kept[weights] = state
        return state


def memory_limit(device: torch.device, ranks_on_machine: int) -> int:
    """Return the bytes of weights that a rank may keep: the ranks of a machine share its memory evenly.

    A GPU is taken to be this rank's alone: what others have of it is not free.
    """
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        # What torch holds for itself is free, too.
        return int(SHARE * (free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)))
    return int(SHARE * available_memory() / ranks_on_machine)


def _size(state: Mapping[str, Tensor]) -> int:
    return sum(value.nbytes for value in state.values())
