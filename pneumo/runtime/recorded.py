"""Files that look like a user's own, such as a CSV of masks: replaced only where a command wrote what is there.

The SHA-256 of what it wrote is in a hidden file beside it, ``.blend.csv.pneumo-sha256`` for ``blend.csv``. A file that
was corrected by hand has another one.
"""

import hashlib
from pathlib import Path

from pneumo.runtime.errors import UserError
from pneumo.runtime.files import publish_text, remove_temporary_files, sha256


def check_recorded(flag: str, output: Path) -> None:
    """Refuse to replace a file that the command did not write, or that was changed since.

    Args:
        flag: Flag of the output, for the message.
        output: The file; one that is missing or empty is no fault.

    Raises:
        UserError: When the file has another SHA-256 than its record, no record, or cannot be read.
    """
    try:
        if not output.exists() or output.stat().st_size == 0 or sha256(output) in _digests(output):
            return
    except OSError as error:
        raise UserError(f"{output}: {error.strerror}", "a file that can be read", f"give another {flag}") from None
    raise UserError(
        f"{flag} would replace {output}, which this command did not write, or which was changed since",
        "a new file, or an earlier result as it was written",
        f"give another {flag}, or move the file",
    )


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


def _digests(target: Path) -> list[str]:
    record = _record(target)
    return record.read_text(encoding="utf-8", errors="replace").split() if record.is_file() else []
