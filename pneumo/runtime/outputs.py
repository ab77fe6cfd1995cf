"""What a command writes must not replace what it reads."""

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

from pneumo.runtime import documents
from pneumo.runtime.errors import UserError


def check_apart(
    flag: str,
    output: Path,
    inputs: Mapping[str, Path | Iterable[Path] | None],
    *,
    writes: Collection[str] = (),
    inside: Collection[str] = (),
) -> None:
    """Refuse an output that would replace an input, or would be written among an input's files.

    Links are followed. A file or directory that is given for two inputs is no fault here, nor one that is missing.

    Args:
        flag: Flag of the output, for the message.
        output: The file or directory that the command writes.
        inputs: The paths that the command reads, by their flags. An input that is a directory must neither be the
            output nor hold it.
        writes: Names within the output directory that the command writes, or whose content it replaces: no input may
            be one of them, or lie in one.
        inside: Flags of directories that may hold the output, since the command leaves it out when it reads them.

    Raises:
        UserError: Naming both flags.
    """
    for name, given in inputs.items():
        for path in [] if given is None else [given] if isinstance(given, Path) else given:
            for written in [output, *(output / entry for entry in writes)]:
                _check_pair(flag, written, name, path, may_lie_in=name in inside, replaces=written is not output)


def check_earlier_csv(flag: str, output: Path, header: Sequence[str]) -> None:
    """Refuse to replace a file that is not an earlier result of the command: a slip of the path would destroy it.

    Args:
        flag: Flag of the output, for the message.
        output: The CSV that the command writes; one that is missing or empty is no fault.
        header: The columns of the command's CSVs.

    Raises:
        UserError: When the file has other columns, or cannot be read.
    """
    line = ",".join(header).encode() + b"\n"
    try:
        with output.open("rb") as file:
            found = file.read(len(line))
    except FileNotFoundError:
        return
    except OSError as error:
        raise UserError(f"{output}: {error.strerror}", "a file that can be read", f"give another {flag}") from None
    if found and found != line:
        raise _foreign(flag, output, f"a CSV of {','.join(header)}")


def check_earlier_json(flag: str, output: Path, fields: Collection[str]) -> None:
    """Refuse to replace a JSON file that is not an earlier result of the command.

    Args:
        flag: Flag of the output, for the message.
        output: The file that the command writes; one that is missing or empty is no fault.
        fields: Fields that all of the command's files have, of any version.

    Raises:
        UserError: When the file is no JSON object with these fields, or cannot be read.
    """
    try:
        if not output.exists() or output.stat().st_size == 0:
            return
        found = documents.read(output)
    except OSError as error:
        raise UserError(f"{output}: {error.strerror}", "a file that can be read", f"give another {flag}") from None
    except ValueError:
        found = {}
    if not found.keys() >= set(fields):
        raise _foreign(flag, output, f"JSON with {', '.join(fields)}")


def _foreign(flag: str, output: Path, own: str) -> UserError:
    return UserError(
        f"{flag} would replace {output}, which is no earlier result of this command",
        f"a new file, or {own}",
        f"give another {flag}, or move the file",
    )


def _check_pair(flag: str, written: Path, name: str, path: Path, *, may_lie_in: bool, replaces: bool) -> None:
    """Refuse what is written where it is an input, lies in one, or replaces a directory that holds one."""
    real, other = _real(written), _real(path)
    if real == other or _is_same_file(written, path):
        raise UserError(
            f"{flag} would replace {path}, which {name} reads", "an output beside the input", f"give another {flag}"
        )
    if other in real.parents and not may_lie_in:
        raise UserError(
            f"{flag} would write {written} in {path}, which {name} reads",
            "an output outside of it",
            f"give another {flag}",
        )
    if replaces and real in other.parents:
        raise UserError(
            f"{flag} replaces what is in {written}, where {name} reads {path}",
            "an output that holds no input",
            f"give another {flag}, or move the input",
        )


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))


def _is_same_file(one: Path, other: Path) -> bool:
    """Return whether both exist and are one file: a hard link, or a name on a file system that ignores case."""
    try:
        return one.samefile(other)
    except OSError:
        return False
