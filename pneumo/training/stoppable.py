"""A loader that looks between its batches whether training was asked to stop."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from pneumo.loading.contract import Batch, BatchPlan, Loader


@dataclass(frozen=True)
class StoppableLoader:
    """Looks before each batch; every rank of a group looks equally often, however its batches are divided.

    Args:
        loader: Loads the batches.
        rounds: Batches of the rank that has the most.
        look: Raises when the ranks agreed to stop; collective.
    """

    loader: Loader
    rounds: int
    look: Callable[[], None]

    def __call__(self, plans: Iterable[BatchPlan]) -> Iterator[Batch]:
        """Yield the batch of each plan, at most ``rounds``."""
        done = 0
        for batch in self.loader(plans):
            self.look()
            done += 1
            yield batch
        for _ in range(done, self.rounds):
            self.look()
