"""The machine and the libraries of a run of the benchmarks."""

import os

import torch

from pneumo.runtime.machine import available_cores, processor_name
from pneumo.runtime.versions import installed_versions


def describe() -> dict[str, str]:
    """Return names and values: cores, processor, load, GPU, versions of the libraries that are installed."""
    load = f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"
    return {
        "cores": str(available_cores()),
        "processor": processor_name(),
        "load": load,
        "GPU": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
        **installed_versions(),
    }
