"""The GPUs that this process may use, as the driver lists them: without torch, for processes that do not compute."""

import shutil
import subprocess
from collections.abc import Mapping

TIMEOUT_S = 60
"""The driver's tool may wait for a GPU that has failed."""


def count_gpus(environ: Mapping[str, str]) -> int:
    """Return the number of GPUs that the driver lists and CUDA_VISIBLE_DEVICES does not hide.

    Importing torch to ask it would take seconds and memory, and its answer is 0 where the driver is too old for it.
    """
    tool = shutil.which("nvidia-smi", path=environ.get("PATH"))
    if tool is None:
        return 0
    try:
        listed = subprocess.run(
            [tool, "--list-gpus"], capture_output=True, text=True, check=False, timeout=TIMEOUT_S
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return 0
    count = sum(line.startswith("GPU ") for line in listed.splitlines())
    visible = environ.get("CUDA_VISIBLE_DEVICES")
    return count if visible is None else _count_visible(visible, listed, count)


def _count_visible(visible: str, listed: str, count: int) -> int:
    """Count the entries of CUDA_VISIBLE_DEVICES, of which CUDA takes those before the first that names no GPU."""
    found = 0
    for entry in map(str.strip, visible.split(",")):
        known = int(entry) < count if entry.isdecimal() else bool(entry) and f"UUID: {entry}" in listed
        if not known:
            break
        found += 1
    return found
