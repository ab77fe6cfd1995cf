"""Files that look like a user's own, such as a CSV of masks: replaced only where a command wrote what is there.

The SHA-256 of what it wrote is in a hidden file beside it, ``.blend.csv.pneumo-sha256`` for ``blend.csv``. A file that
was corrected by hand has another one.
"""

import hashlib
from contextlib import suppress
from itertools import count
from pathlib import Path

from pneumo.runtime.console import log
from pneumo.runtime.errors import UserError
from pneumo.runtime.files import check_target, publish_text, remove_temporary_files, sha256


def check_recorded(flag: str, output: Path) -> None:
    """Refuse to replace a file that the command did not write, or that was changed since.

    Args:
        flag: Flag of the output, for the message.
        output: The file; one that is missing or empty is no fault.

    Raises:
        UserError: When the file has another SHA-256 than its record, no record, or cannot be read.
    """
    record = _record(output)
    check_target(record)
    try:
        if _may_be_replaced(output):
            return
        found = (
            "was changed since this command wrote it" if record.exists() else f"has no record {record.name} beside it"
        )
    except OSError as error:
        name = error.filename or output
        raise UserError(f"{name}: {error.strerror}", "a file that can be read", f"give another {flag}") from None
    raise UserError(
        f"{flag} would replace {output}, which {found}",
        "a new file, or an earlier result of this command as it was written",
        f"give another {flag}, or move the file",
    )


def free_target(output: Path) -> Path:
    """Return the output, or a new name beside it where somebody has changed the file since ``check_recorded``.

    What took hours to compute is written then, and the other file stays.
    """
    with suppress(OSError):
        if _may_be_replaced(output):
            return output
    taken = {entry.name.partition(".")[0] for entry in output.parent.iterdir()}
    stem = next(stem for number in count(2) if (stem := f"{output.stem}-{number}") not in taken)
    target = output.with_name(f"{stem}{output.suffix}")
    log.warning("%s was changed meanwhile, and stays as it is; this result is %s", output, target)
    return target


def lock_path(output: Path) -> Path:
    """Return the file of the lock that a process holds while it makes the output."""
    return output.with_name(f".{output.name}.lock")


def publish_recorded(target: Path, text: str) -> None:
    """Write ``text`` as UTF-8 to ``target``, replacing it in one step, and its SHA-256 beside it."""
    record = _record(target)
    remove_temporary_files(record.parent, record.name)
    digest = hashlib.sha256(text.encode("utf-8")).hexdigest()
    # With those of what is there now: this process may be killed before or after the file is replaced.
    publish_text(record, "\n".join((*_digests(target), digest)) + "\n")
    publish_text(target, text)
    publish_text(record, f"{digest}\n")


def _record(target: Path) -> Path:
    return target.with_name(f".{target.name}.pneumo-sha256")


def _may_be_replaced(output: Path) -> bool:
    return not output.exists() or output.stat().st_size == 0 or sha256(output) in _digests(output)


def _digests(target: Path) -> list[str]:
    record = _record(target)
    return record.read_text(encoding="utf-8", errors="replace").split() if record.is_file() else []
