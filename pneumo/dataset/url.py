"""URLs among the values of flags that are paths.

Such a flag's value is a ``Path``, which unlike pydantic's strings holds names that are not UTF-8. It takes the second
slash of ``s3://bucket/siim`` for a slip.
"""

import re
from pathlib import Path

from pneumo.runtime.errors import UserError

_URL = re.compile(r"([A-Za-z][\w+.-]+(?:::[\w+.-]+)*):/([^/].*)")
_SECRET = re.compile(r":.*@|[?#;]")
"""A password, also one with slashes, or a signature."""


def url(path: Path) -> str:
    """Return the URL that a path was given as, "" for a path of this machine.

    Raises:
        UserError: When the URL may have a secret, which would show in the list of processes and in logs.
    """
    found = _URL.fullmatch(str(path))
    if found is None or path.exists():
        return ""
    scheme, rest = found.groups()
    given = f"{scheme}:///{rest}" if scheme in ("file", "local") else f"{scheme}://{rest}"
    named = scheme.startswith("http") and "@" in rest
    if named or "::" in given or _SECRET.search(rest):
        raise UserError(
            f"a {scheme} URL with a password, a query (?) or another URL in it",
            "the URL of a directory, without secrets",
            "give them as the service's variables or configuration file, for S3 AWS_ACCESS_KEY_ID and"
            " AWS_SECRET_ACCESS_KEY",
        )
    return given


def refuse_url(path: Path, expected: str) -> None:
    """Refuse a URL where only a path of this machine is taken.

    Args:
        path: The value of a flag.
        expected: What is taken, for the message.

    Raises:
        UserError: When it is a URL.
    """
    if given := url(path):
        raise UserError(f"{given} is a URL", f"{expected} on a file system of this machine", "copy it there")
