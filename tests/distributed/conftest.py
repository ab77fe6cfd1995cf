"""Worlds of several ranks, run once for all tests."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from rank_programs import Ended
from waiting import LONG_S


@pytest.fixture(scope="session")
def worlds() -> dict[str, Ended]:
    """How each of ``rank_programs.WORLDS`` ended."""
    script = Path(__file__).with_name("rank_programs.py")
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=LONG_S, check=False)
    assert done.returncode == 0, done.stderr
    return {name: Ended(*ended) for name, ended in json.loads(done.stdout).items()}
