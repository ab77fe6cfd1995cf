"""URLs among the values of flags that are paths.

Such a flag's value is a ``Path``, which unlike pydantic's strings holds names that are not UTF-8. It takes the second
slash of ``s3://bucket/siim`` for a slip.
"""

import re
from pathlib import Path
from urllib.parse import urlsplit

from pneumo.runtime.errors import UserError

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/([^/].*)")


def url(path: Path) -> str:
    """Return the URL that a path was given as, "" for a path of this machine.

    Raises:
        UserError: When the URL has a password or a query, which would show in the list of processes and in logs.
    """
    found = _URL.fullmatch(str(path))
    if found is None or path.exists():
        return ""
    scheme, rest = found.groups()
    given = f"{scheme}:///{rest}" if scheme in ("file", "local") else f"{scheme}://{rest}"
    if urlsplit(given).password is not None or "?" in given:
        raise UserError(
            f"a {scheme} URL with a password or a query (?)",
            "the URL of a directory, without secrets",
            "give them as the service's variables or configuration file, for S3 AWS_ACCESS_KEY_ID and"
            " AWS_SECRET_ACCESS_KEY",
        )
    return given
