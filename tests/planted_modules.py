"""A directory of modules with the names of others, as a downloaded directory may hold them: none must be run."""

import sys
from pathlib import Path

PACKAGES = ("accelerate", "cv2", "nvidia", "numpy", "pip", "pneumo", "pyarrow", "pydicom", "torch", "tyro")


def plant_modules(directory: Path) -> None:
    """Write a module of every name of the standard library and of some packages, which records that it was run."""
    for name in (*sys.stdlib_module_names, *PACKAGES):
        (directory / f"{name}.py").write_text(f"open({str(_record(directory))!r}, 'a').write(__name__ + '\\n')\n")


def modules_run(directory: Path) -> list[str]:
    """Return the names of the planted modules that were run."""
    record = _record(directory)
    return record.read_text().split() if record.exists() else []


def _record(directory: Path) -> Path:
    return directory / "modules_run.txt"
