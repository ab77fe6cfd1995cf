"""Working alone on a run or a fold: the locks of a job of several ranks, taken or refused by all of them together."""

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from pneumo.distributed.environment import batch_job
from pneumo.distributed.world import World
from pneumo.runtime import locks
from pneumo.runtime.errors import UserError


@contextmanager
def exclusive_locks(wanted: Sequence[tuple[Path, str]], world: World) -> Iterator[None]:
    """Hold locks while the block runs. Collective over the world.

    Args:
        wanted: The locks that this rank takes for its group, each with the name of what it protects; most ranks
            take none.
        world: All ranks of the job.

    Raises:
        UserError: On every rank, when another job holds one of the locks that any rank wanted.
    """
    with ExitStack() as held:
        refused = []
        for path, what in wanted:
            try:
                held.enter_context(locks.hold(path, what, job=batch_job(os.environ)))
            except UserError as error:
                refused.append(error.found)
        every = world.broadcast([text for part in world.gather(refused) for text in part])
        if every:
            raise UserError("; ".join(every), "one job at a time", "wait for it or stop it, or give another --run")
        yield
