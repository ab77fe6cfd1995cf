"""Parse a command line into a typed dataclass, and run a command to its exit code: what every file of job/ does."""

import contextlib
import gc
import io
import itertools
import os
import re
import shutil
import signal
import sys
import textwrap
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import NoReturn, TypeVar

import tyro

from pneumo import __version__
from pneumo.runtime import console, log_file
from pneumo.runtime.config import by_spaces
from pneumo.runtime.console import FILE_ONLY, log
from pneumo.runtime.errors import (
    ExitCode,
    RankLost,
    StartAgain,
    StopRequested,
    UserError,
    as_user_error,
    escape_control_characters,
)
from pneumo.runtime.verbosity import Verbosity

A = TypeVar("A")

MAX_WORD_LENGTH = 200
"""Characters of each word of the command line that a message of the parser shows."""

_LISTED = re.compile(r"(--[^=]+=)?[\w.-]+(,[\w.-]+)+")
"""A word that may be several values, and no path."""

_skip_teardown = False


def skip_teardown() -> None:
    """Make ``run`` end the process without the interpreter's teardown.

    For one rank of several: after the command only its exit code is left to deliver, and process groups that an error
    left open wait for a lost peer when they are destroyed, and abort when they outlive the interpreter.
    """
    global _skip_teardown  # noqa: PLW0603 (there is one process to end)
    _skip_teardown = True


def parse(
    arguments: type[A] | Callable[..., A],
    argv: Sequence[str],
    *,
    prog: str,
    description: str | None,
    renamed: Mapping[str, str] = MappingProxyType({}),
    mistaken: Mapping[str, str] = MappingProxyType({}),
) -> A:
    """Parse a command line into ``arguments``; print the help or the version and exit when asked to.

    A field ``verbosity`` of ``arguments`` decides from now on what is printed.

    Args:
        arguments: A ``config_dataclass``, or a function of several; each field is a flag, and the docstring below it
            its help.
        argv: The arguments after the program's name.
        prog: The program's name in the help.
        description: What the help begins with, such as the module's docstring.
        renamed: Flags of version 0.1, and what replaced them.
        mistaken: Flags that the command never had but people try, and what does what they mean.

    Raises:
        SystemExit: With 2 on an unknown flag or a value of the wrong type, with 0 after ``--help`` or ``--version``.
        UserError: When a value is out of its range, or a flag was renamed or is of another command.
    """
    try:
        read = _read(arguments, argv, prog=prog, description=description, renamed=renamed, mistaken=mistaken)
    except SystemExit as error:
        if error.code == ExitCode.USER and any(_LISTED.fullmatch(word) for word in argv):
            log.error("%s", by_spaces("values"))
        raise
    for part in read if isinstance(read, tuple) else (read,):
        if isinstance(verbosity := getattr(part, "verbosity", None), Verbosity):
            console.set_level(verbosity.level)
    return read


def _read(
    arguments: type[A] | Callable[..., A],
    argv: Sequence[str],
    *,
    prog: str,
    description: str | None,
    renamed: Mapping[str, str],
    mistaken: Mapping[str, str],
) -> A:
    if "--version" in argv:
        sys.stdout.write(f"{prog} {__version__}\n")
        raise SystemExit(int(ExitCode.DONE))
    for word in argv:
        flag = word.partition("=")[0].replace("_", "-")
        if replacement := renamed.get(flag):
            expected = f"{replacement}, which replaced it in version 0.2.0"
            raise UserError(f"{flag} is no longer a flag of {prog}", expected, "correct the command")
        if meant := mistaken.get(flag):
            raise UserError(f"{flag} is no flag of {prog}", meant, "correct the command")
    if {"-h", "--help"} & set(argv):
        # tyro would neither wrap it nor keep its empty lines.
        sys.stdout.write(f"{_wrap(description or '')}\n\n")
    read: Callable[..., A] = partial(
        tyro.cli, arguments, prog=prog, description="", config=(tyro.conf.AvoidSubcommands,)
    )
    shown = [_printable(word) for word in argv]
    if shown == list(argv):
        return read(args=list(argv))
    silent = io.StringIO()
    with (
        contextlib.suppress(SystemExit),
        contextlib.redirect_stdout(silent),
        contextlib.redirect_stderr(silent),
    ):
        return read(args=list(argv))
    # The parser's box repeats the wrong words as they are: a terminal would obey some, and others fill it.
    read(args=shown)
    raise UserError(" ".join(shown), "flags and values of printable characters", "correct the command")


@contextlib.contextmanager
def slow_imports() -> Iterator[None]:
    """Import in the block what a command needs beside its flags: faster, and so that Ctrl-C ends the process silently.

    Nothing has begun, and an exception in the middle of a library's import becomes any other one.
    """
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)
    # Searching what libraries create for garbage, of which there is none, takes a fifth of the time of importing torch
    # and segmentation-models-pytorch, and a second when the process ends.
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_enabled:
            gc.enable()
        signal.signal(signal.SIGINT, before)


def _printable(word: str) -> str:
    """Return a word of the command line as it is shown: unprintable characters escaped, long ones cut."""
    text = escape_control_characters(word)
    half = MAX_WORD_LENGTH // 2
    return text if len(text) <= MAX_WORD_LENGTH else f"{text[:half]} ... {text[-half:]}"


def _wrap(text: str) -> str:
    """Wrap the paragraphs of a text to the terminal's width; indented lines, such as commands, stay as they are."""
    paragraph = textwrap.TextWrapper(shutil.get_terminal_size().columns, break_on_hyphens=False)
    lines: list[str] = []
    for indented, group in itertools.groupby(text.strip().splitlines(), key=lambda line: line[:1] in ("", " ")):
        block = list(group)
        lines += block if indented else paragraph.wrap(" ".join(block))
    return "\n".join(lines)


def run(command: Callable[[], int | None], *, resumes: bool = False) -> NoReturn:
    """Run a command and exit with the code that launchers act on (see ``ExitCode``).

    Args:
        command: What is run; it may return another exit code than 0.
        resumes: Whether the same command goes on with what an interrupted one has finished, for the message.
    """
    console.set_up_logging()
    log_file.keep_records()
    if isinstance(sys.stdout, io.TextIOWrapper):
        # File names need not be UTF-8; standard error shows such bytes escaped, and standard output should too.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        code = command() or ExitCode.DONE
    except StopRequested as error:
        log.warning("stopped on request, state saved: %s; the same command goes on from there", error)
        code = ExitCode.REQUEUE
    except StartAgain as error:
        log.warning("%s; start the same command again later", error)
        code = ExitCode.REQUEUE
    except RankLost as error:
        log.error("%s", error)
        code = error.code
    except KeyboardInterrupt:
        kept = "what is finished is kept, and the same command resumes from there"
        log.warning("interrupted; %s", kept if resumes else "the same command starts anew")
        code = 128 + signal.SIGINT
    except BrokenPipeError:
        code = 128 + signal.SIGPIPE
    except SystemExit as error:
        log.info("exit code %s", error.code, extra=FILE_ONLY)
        raise
    except Exception as error:
        user_error = as_user_error(error)
        if user_error is not None:
            log.error("%s", user_error)
        else:
            traceback.print_exc()
            log.error("an unexpected error", exc_info=error, extra=FILE_ONLY)
        code = ExitCode.BUG if user_error is None else ExitCode.USER
    log.info("exit code %d", code, extra=FILE_ONLY)
    sys.stdout.flush()
    sys.stderr.flush()
    if _skip_teardown:
        os._exit(int(code))
    raise SystemExit(int(code))
