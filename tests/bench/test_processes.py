"""A command's processor time and memory include those of processes that it leaves behind."""

import pytest

from pneumo.bench import processes

LEAVE_BEHIND = """
import subprocess, sys
subprocess.Popen([sys.executable, "-c", '''
import time
kept = b"x" * (200 << 20)
while time.process_time() < 1:
    pass
'''])
"""


def test_a_process_that_outlives_its_parent_counts() -> None:
    used, idle = processes.run("-c", LEAVE_BEHIND), processes.run("-c", "import time; time.sleep(0.5)")
    assert used.seconds > 1
    assert used.peak_bytes > 200 << 20
    assert 0 < idle.peak_bytes < 50 << 20
    assert idle.seconds < 0.9


def test_a_command_that_fails_is_an_error() -> None:
    with pytest.raises(AssertionError, match="reason"):
        processes.run("-c", "import sys; sys.exit('reason')")
