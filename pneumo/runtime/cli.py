"""From a typed dataclass of arguments to an exit code: the frame of every command in job/."""

import io
import os
import re
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from itertools import groupby
from typing import Any, NoReturn, TypeVar

import tyro

from pneumo import __version__
from pneumo.runtime.console import log, set_up_logging
from pneumo.runtime.errors import ExitCode, RankLost, StopRequested, as_user_error, one_line

A = TypeVar("A")


def parse(arguments: type[A], argv: Sequence[str], *, prog: str, description: str, default: A | None = None) -> A:
    """Parse a command line into ``arguments``; print the help or the version and leave when asked to.

    Args:
        arguments: A dataclass; each field is a flag, and the docstring below it its help.
        argv: The words after the program's name.
        prog: The program's name in the help.
        description: The help's first paragraph.
        default: Values to start from, when they are not the dataclass's own.

    Raises:
        SystemExit: With 2 on a wrong flag or value, with 0 after ``--help`` or ``--version``.
    """
    if "--version" in argv:
        sys.stdout.write(f"{prog} {__version__}\n")
        raise SystemExit(int(ExitCode.DONE))
    given: dict[str, Any] = {} if default is None else {"default": default}
    box = io.StringIO()
    try:
        with redirect_stderr(box), _wide_unless(any(word in ("--help", "-h") for word in argv)):
            parsed: A = tyro.cli(
                arguments,
                args=list(argv),
                prog=prog,
                description=description,
                config=(tyro.conf.AvoidSubcommands,),
                **given,
            )
    except SystemExit as ended:
        if ended.code == ExitCode.USER:
            log.error("%s; see %s --help", one_line(_unbox(box.getvalue())), prog)
        raise
    return parsed


@contextmanager
def _wide_unless(asked_for_help: bool) -> Iterator[None]:
    """Let tyro break no line of an error: it asks the terminal for its width, and COLUMNS goes before that."""
    before = os.environ.get("COLUMNS")
    if not asked_for_help:
        os.environ["COLUMNS"] = "100000"
    try:
        yield
    finally:
        os.environ.pop("COLUMNS", None)
        if before is not None:
            os.environ["COLUMNS"] = before


def _unbox(text: str) -> str:
    """Return what tyro says in a box of several paragraphs as one line."""
    rows = [row[1:-1].strip() for row in re.sub(r"\x1b\[[0-9;]*m", "", text).splitlines()[1:-1]]
    paragraphs = [" ".join(part) for rule, part in groupby(rows, lambda row: not row.strip("\u2500-")) if not rule]
    said = "; ".join(part for part in paragraphs if not part.startswith("For full helptext"))
    # What our own dataclasses raise names its flag itself.
    said = re.sub(r"^Error parsing (?!-)[\w.]+: |^Error parsing ", "", said)
    return said.replace("Argument helptext:", "expected").rstrip(".")


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
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        # Past this point a rank has nothing to lose but its exit code: process groups that an error left open wait
        # for a lost peer when they are taken down, and abort when they outlive the interpreter.
        os._exit(int(code))
    raise SystemExit(int(code))
