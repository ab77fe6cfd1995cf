"""The machine and the libraries of a run of the benchmarks."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from pneumo.runtime.machine import available_cores

PACKAGES = (
    *("torch", "nvidia-dali-cuda130", "nvidia-dali-cuda120", "opencv-python-headless", "albumentations"),
    *("pydicom", "numpy"),
)


def describe() -> dict[str, str]:
    """Return names and values: cores, processor, load, GPU, versions of the libraries that are installed."""
    load = f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"
    return {
        "cores": str(available_cores()),
        "processor": _processor(),
        "load": load,
        "GPU": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
        "Python": platform.python_version(),
        **{name: found for name in PACKAGES if (found := _version(name))},
    }


def _processor() -> str:
    """Return the processor's name from the kernel."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
