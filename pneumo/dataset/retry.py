"""Which finished shards are written again: those with a file that may be readable now.

A file that the system did not read, or whose reader crashed, is tried again whenever the command is started again; one
that met a limit is tried again under another limit. All other rejections follow from the file itself, and a file that
changes makes another plan.
"""

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from pneumo.dataset import paths, quarantine, shard_record
from pneumo.dataset.limits import Conditions
from pneumo.dataset.plan import ShardPlan
from pneumo.dataset.shard_record import FinishedShard
from pneumo.dicom.rejection import Reason
from pneumo.runtime import locks
from pneumo.runtime.console import log
from pneumo.runtime.errors import counted

RETRIED = (Reason.UNREADABLE, Reason.CRASHED, Reason.TOOK_TOO_LONG, Reason.TOO_MUCH_MEMORY)
"""Reasons that do not follow from the file alone."""


def drop_records(dataset: Path, shards: Sequence[ShardPlan], now: Conditions) -> None:
    """Drop the records of shards that have a file to try again; their tars stay until the new ones replace them.

    Nothing is dropped when another process has finished the dataset in the meantime.
    """
    chosen = [
        shard
        for shard in shards
        if shard_record.is_done(dataset, shard) and _has_file_to_retry(shard_record.read(dataset, shard), now)
    ]
    if not chosen:
        return
    # A merge either comes first, with the old tars, or finds these shards missing and leaves the end to others.
    with locks.hold(paths.lock(dataset), str(dataset), wait_s=math.inf):
        if paths.manifest(dataset).is_file():
            return
        log.info("writing %s again, with files that may be readable now", counted(len(chosen), "shard"))
        for shard in chosen:
            paths.shard_record(dataset, shard.name).unlink(missing_ok=True)


def log_finished(dataset: Path) -> None:
    """Warn when a finished dataset lacks files that may be readable now: it is not changed, since runs may use it."""
    reasons = quarantine.count_reasons(dataset)
    found = Counter({str(reason): reasons[reason] for reason in RETRIED if reasons[reason]})
    if found:
        log.warning(
            "quarantined for what may be over: %s (%s); tried again with another --out",
            counted(found.total(), "file"), quarantine.format_counts(found),
        )  # fmt: skip


def _has_file_to_retry(record: FinishedShard, now: Conditions) -> bool:
    """Return whether one of a shard's rejected files may be readable now."""
    limits, before = now.limits, record.conditions.limits
    changed = {
        Reason.UNREADABLE: True,
        Reason.CRASHED: True,
        Reason.TOOK_TOO_LONG: limits.time_limit != before.time_limit,
        # The system kills a process when all workers together have left no memory.
        Reason.TOO_MUCH_MEMORY: limits.memory_limit != before.memory_limit or now.workers != record.conditions.workers,
    }
    return any(changed.get(row.reason, False) for row in record.quarantined)
