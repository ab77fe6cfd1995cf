"""Files for the tests of this directory."""

from pathlib import Path

import pytest


@pytest.fixture
def table(tmp_path):
    """Write the bytes of a table and return its path."""

    def write(data: bytes) -> Path:
        path = tmp_path / "table.csv"
        path.write_bytes(data)
        return path

    return write
