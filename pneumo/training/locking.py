"""Exclusive use of a run or a fold: locks that all ranks hold, or none."""

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from pneumo.distributed.environment import batch_job, is_pod
from pneumo.distributed.world import World
from pneumo.runtime import locks
from pneumo.runtime.errors import StartAgain, UserError


@contextmanager
def exclusive_locks(paths: Sequence[tuple[Path, str]], world: World) -> Iterator[None]:
    """Hold locks while the block runs. Collective over the world.

    Args:
        paths: The files of the locks that this rank acquires for its group, each with the name of what it protects;
            only leaders acquire any.
        world: All ranks.

    Raises:
        UserError: On every rank, when another process holds one of the locks that any rank needs.
        StartAgain: Instead, in a pod of Kubernetes. Only one pod of a Job works on a fold: the other process is a pod
            of a Job that was deleted, and is saving.
    """
    with ExitStack() as held:
        refused = []
        for path, what in paths:
            try:
                held.enter_context(locks.hold(path, what, job=batch_job(os.environ)))
            except UserError as error:
                refused.append(error.found)
        all_refused = world.broadcast([message for part in world.gather(refused) for message in part])
        if all_refused:
            message = "; ".join(all_refused)
            if is_pod(os.environ):
                raise StartAgain(message)
            raise UserError(message, "one process at a time", "wait for it or stop it, or give another --run or --out")
        yield
