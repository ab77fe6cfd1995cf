"""Python imports this when it starts: attempts to reach another machine, and files of predictable names, are recorded.

Connections to other machines are refused, too. In a shared directory for temporary files a file must have an
unpredictable name (``O_EXCL`` with a random name, as tempfile makes it), and a directory must not be
readable by others.
"""

import os
import sys
from pathlib import Path
from typing import Any

LOCAL = ("localhost", "127.0.0.1", "::1", "", None)
NAMES = frozenset({"socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyname_ex", "socket.gethostbyaddr"})
ADDRESSES = frozenset({"socket.connect", "socket.sendto", "socket.sendmsg"})
SHARED = {"/tmp", "/var/tmp", "/dev/shm", os.environ["TMPDIR"]}
REPORT = os.environ["PNEUMO_TEST_ATTEMPTS"]


class NetworkAccessError(ConnectionError):
    """What a machine without a route to another raises."""


def watch(event: str, arguments: tuple[Any, ...]) -> None:
    if event in NAMES:
        check_host(event, arguments[0])
    elif event in ADDRESSES:
        # An address that is no pair is a path or a descriptor on this machine.
        check_host(event, arguments[1][0] if isinstance(arguments[1], tuple) else None)
    elif event == "open" and isinstance(arguments[0], str):
        path, _, flags = arguments
        if flags & os.O_CREAT and not flags & os.O_EXCL and os.path.dirname(path) in SHARED:  # noqa: PTH120
            report(f"predictable file {path}")
    elif event == "os.mkdir" and isinstance(arguments[0], str):
        path, mode, _ = arguments
        if os.path.dirname(path) in SHARED and mode & 0o077:  # noqa: PTH120
            report(f"open directory {path}")


def check_host(event: str, host: object) -> None:
    host = host.decode() if isinstance(host, bytes) else host
    if host not in LOCAL and not str(host).startswith("127."):
        report(f"{event} {host}")
        raise NetworkAccessError(f"{event} {host}: this test permits no connection")


def report(what: str) -> None:
    with Path(REPORT).open("a", encoding="utf-8") as file:
        file.write(f"{what} {sys.argv[:1]}\n")


sys.addaudithook(watch)
