"""When a fold's state is saved while it trains, and when its ranks stop together."""

from collections.abc import Callable
from typing import NoReturn

from pneumo.distributed import heartbeat
from pneumo.distributed.collectives import Group
from pneumo.distributed.stopping import StopFlag
from pneumo.distributed.vote import Vote
from pneumo.training.checkpoint import Snapshot
from pneumo.training.checkpoint_writer import CheckpointWriter
from pneumo.training.save_clock import SaveClock


class FoldSaving:
    """Saves between steps when a checkpoint is due or a rank was asked to stop, and then stops.

    All ranks act at the same step, which is the next one where there are several.

    Args:
        where: Says how far the fold is, for messages.
        snapshot: Returns what a checkpoint has on the leader, None elsewhere. Collective; it raises ``UserError`` where
            the state must not replace a good checkpoint, as when a loss is not finite.
        writer: Writes the fold's checkpoints.
        clock: Says on the leader when one is due.
        group: The ranks that train the fold together.
        stop: Set when this process was asked to stop.
    """

    def __init__(
        self,
        where: Callable[[], str],
        snapshot: Callable[[], Snapshot | None],
        *,
        writer: CheckpointWriter,
        clock: SaveClock,
        group: Group,
        stop: StopFlag,
    ) -> None:
        self.clock, self._where, self._snapshot = clock, where, snapshot
        self._writer, self._group, self._stop_flag = writer, group, stop
        # Whether to stop, and whether to save.
        self._vote = Vote(group, 2)

    def save(self) -> None:
        """Save a checkpoint, which is written while training goes on. Collective.

        Raises:
            UserError: See ``snapshot``.
        """
        snapshot = self._snapshot()
        self.clock.restart()
        if snapshot is not None:
            heartbeat.touch(f"{self._where()}: saving")
            self._writer.begin(snapshot)
            heartbeat.touch()

    def save_or_stop(self, *, within_epoch: bool) -> None:
        """Save when a checkpoint is due; save and raise when a rank of the group was asked to stop. Collective.

        Args:
            within_epoch: Whether the epoch goes on behind this step; behind its last one the state is saved anyway.

        Raises:
            StopRequested: When the group agreed to stop; the state is saved.
            UserError: See ``snapshot``, or that a write has failed.
        """
        self._writer.check()
        due = within_epoch and self._group.is_leader and not self._writer.is_busy and self.clock.take_due()
        stopping, saving = self._vote.cast(bool(self._stop_flag), due)
        if not within_epoch:
            # What follows is saved anyway, and may take minutes.
            stopping = self._vote.settle()[0] or stopping
        if stopping or (within_epoch and saving):
            self.save()
        if stopping:
            self._stop()

    def stop_if_asked(self) -> None:
        """Raise when a rank of the group was asked to stop, in a validation: the state is saved. Collective."""
        stopping, _ = self._vote.cast(bool(self._stop_flag), False)
        if stopping:
            self._stop()

    def finish(self) -> None:
        """Leave nothing to agree on, behind a finished fold: a stop that came last ends the process behind it."""
        self._vote.settle()
        self._group.barrier()

    def _stop(self) -> NoReturn:
        """Raise with the signals that the ranks received, once the state is on disk. Collective."""
        self._writer.wait()
        self._group.barrier()
        raise self._group.stop_request(self._stop_flag.signal_name, self._where())
