"""Python imports this at its start: whatever would reach another machine is written down and refused."""

import os
import sys
from typing import Any

LOCAL = ("localhost", "127.0.0.1", "::1", "", None)
NAMES = frozenset({"socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyname_ex", "socket.gethostbyaddr"})
ADDRESSES = frozenset({"socket.connect", "socket.sendto", "socket.sendmsg"})


def refuse(event: str, arguments: tuple[Any, ...]) -> None:
    if event in NAMES:
        host = arguments[0]
    elif event in ADDRESSES:
        address = arguments[1]
        # An address that is no pair is a path or a descriptor on this machine.
        host = address[0] if isinstance(address, tuple) else None
    else:
        return
    host = host.decode() if isinstance(host, bytes) else host
    if host not in LOCAL and not str(host).startswith("127."):
        with open(os.environ["PNEUMO_TEST_ATTEMPTS"], "a", encoding="utf-8") as file:  # noqa: PTH123
            file.write(f"{event} {host} {sys.argv[:1]}\n")
        raise ConnectionRefusedError(f"{event} {host}: this test lets nothing leave the machine")


sys.addaudithook(refuse)
