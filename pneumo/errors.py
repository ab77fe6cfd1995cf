"""What the user can mend, and the exit codes that launchers act on."""

from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes of every command; Slurm scripts and Kubernetes' podFailurePolicy act on them."""

    DONE = 0
    """Everything asked for was done."""
    BUG = 1
    """An unexpected failure, with a traceback."""
    USER = 2
    """The user's input or configuration is wrong; starting again without a change will not help."""
    REQUEUE = 3
    """Stopped on request with the state saved; start the same command again to go on."""


class UserError(ValueError):
    """Something the user can mend: one line, exit code 2, no traceback.

    Args:
        found: What was found, naming the file, line or field.
        expected: What would have been right.
        action: What to do about it.
    """

    def __init__(self, found: str, expected: str, action: str) -> None:
        self.found = found
        self.expected = expected
        self.action = action
        super().__init__(f"{found}; expected {expected}; {action}")


class StopRequested(Exception):
    """All ranks agreed to stop; the state is saved and the process should exit with ``ExitCode.REQUEUE``."""
