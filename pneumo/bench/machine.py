"""The machine and the libraries of a run of the benchmarks."""

import os
import platform
from pathlib import Path

import torch

from pneumo.runtime.machine import available_cores
from pneumo.runtime.versions import installed_versions


def describe() -> dict[str, str]:
    """Return names and values: cores, processor, load, GPU, versions of the libraries that are installed."""
    load = f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"
    return {
        "cores": str(available_cores()),
        "processor": _processor(),
        "load": load,
        "GPU": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
        **installed_versions(),
    }


def _processor() -> str:
    """Return the processor's name from the kernel."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
