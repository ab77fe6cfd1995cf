"""NCCL's own handling of a lost rank, which the watchdog takes the place of.

By default torch aborts a process a minute after NCCL has noticed a lost peer, before the watchdog names the peer and
its error. It also asks all ranks of the world for a dump, and aborts those eight minutes later, although other fold
groups do not depend on the lost rank.
"""

from collections.abc import MutableMapping


def leave_errors_to_watchdog(environ: MutableMapping[str, str]) -> None:
    """Let NCCL report errors and abort no process, unless the user has set otherwise; before its groups are made.

    A collective with a lost peer then never ends, and the watchdog ends the rank.
    """
    environ.setdefault("TORCH_NCCL_ASYNC_ERROR_HANDLING", "0")
    environ.setdefault("TORCH_NCCL_DUMP_ON_TIMEOUT", "0")
