"""From a typed dataclass of arguments to an exit code: the frame of every command in job/."""

import io
import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import NoReturn, TypeVar

import tyro

from pneumo import __version__
from pneumo.runtime.console import log, set_up_logging
from pneumo.runtime.errors import ExitCode, RankLost, StopRequested, as_user_error

A = TypeVar("A")

_skip_teardown = False


def skip_teardown() -> None:
    """Make ``run`` end the process without the interpreter's teardown.

    For a rank of several: past the command it has nothing to lose but its exit code. Process groups that an error
    left open wait for a lost peer when they are taken down, and abort when they outlive the interpreter.
    """
    global _skip_teardown  # noqa: PLW0603 (there is one process to end)
    _skip_teardown = True


def parse(arguments: type[A] | Callable[..., A], argv: Sequence[str], *, prog: str, description: str) -> A:
    """Parse a command line into ``arguments``; print the help or the version and leave when asked to.

    Args:
        arguments: A ``config_dataclass``, or a function of several; each field is a flag, and the docstring below it
            its help.
        argv: The words after the program's name.
        prog: The program's name in the help.
        description: The help's first paragraph.

    Raises:
        SystemExit: With 2 on an unknown flag or a value of the wrong type, with 0 after ``--help`` or ``--version``.
        UserError: When a value is out of its range.
    """
    if "--version" in argv:
        sys.stdout.write(f"{prog} {__version__}\n")
        raise SystemExit(int(ExitCode.DONE))
    parsed: A = tyro.cli(
        arguments, args=list(argv), prog=prog, description=description, config=(tyro.conf.AvoidSubcommands,)
    )
    return parsed


def run(command: Callable[[], int | None]) -> NoReturn:
    """Run a command and leave with the exit code that launchers act on (see ``ExitCode``)."""
    set_up_logging()
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Names of files need not be UTF-8; standard error shows such bytes escaped, and so should the results.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        code = command() or ExitCode.DONE
    except StopRequested as error:
        log.warning("stopped on request, state saved: %s", error)
        code = ExitCode.REQUEUE
    except RankLost as error:
        log.error("%s", error)
        code = error.code
    except KeyboardInterrupt:
        log.warning("interrupted; what was finished is kept, the same command goes on from there")
        code = 128 + signal.SIGINT
    except BrokenPipeError:
        code = 128 + signal.SIGPIPE
    except Exception as error:
        user_error = as_user_error(error)
        if user_error is not None:
            log.error("%s", user_error)
        else:
            traceback.print_exc()
        code = ExitCode.BUG if user_error is None else ExitCode.USER
    sys.stdout.flush()
    sys.stderr.flush()
    if _skip_teardown:
        os._exit(int(code))
    raise SystemExit(int(code))
