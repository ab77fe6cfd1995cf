"""Python processes that import nothing from the current directory, which need not be the user's."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

VARIABLE = "PYTHONSAFEPATH"


@contextmanager
def safe_path() -> Iterator[None]:
    """Let the Python processes that are started in the block not import from the current directory.

    Every process that multiprocessing starts (a pool's, the fork server, the resource tracker) begins as ``python -c``,
    for which Python puts the current directory before all others, the standard library's included; the parent's
    ``sys.path`` is passed to it only later. A downloaded directory with a ``numpy.py`` in it would be code that runs.
    """
    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[VARIABLE]
        else:
            os.environ[VARIABLE] = before
