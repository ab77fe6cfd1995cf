"""The exit codes of several ranks: what each means, and the one code that stands for all."""

import signal
from collections.abc import Sequence

from pneumo.runtime.errors import ExitCode

STOPPED = {
    int(ExitCode.REQUEUE),
    *(-number for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT, signal.SIGHUP)),
    128 + signal.SIGINT,
}


def combine_exit_codes(codes: Sequence[int]) -> int:
    """Return the one exit code for the codes of several ranks (negative = killed by that signal).

    Wrong input comes first, since a restart would not help; then a crash; then a stop. A rank that a signal which
    requests a stop killed, before the rank could catch it, counts as stopped, and so does one that Ctrl-C interrupted.
    """
    if ExitCode.USER in codes:
        return ExitCode.USER
    if any(code not in {*STOPPED, ExitCode.DONE} for code in codes):
        return ExitCode.BUG
    return ExitCode.REQUEUE if any(codes) else ExitCode.DONE


def describe_exit_code(code: int) -> str:
    """Return an exit code with its meaning."""
    if code < 0:
        name = signal.Signals(-code).name
        return f"killed by {name}" + (" (often: out of memory)" if -code == signal.SIGKILL else "")
    named = {ExitCode.USER: "wrong input or configuration", ExitCode.REQUEUE: "stopped, state saved"}
    meaning = next((text for known, text in named.items() if known == code), "")
    return f"exit code {code}" + (f" ({meaning})" if meaning else "")
