"""The versions of what pneumo runs on, as logs, reports and benchmarks name them."""

import platform
from importlib.metadata import PackageNotFoundError, version

from pneumo import __version__

LIBRARIES = (
    *("torch", "numpy", "opencv-python-headless", "albumentations", "segmentation-models-pytorch", "scikit-learn"),
    *("nvidia-dali-cuda130", "nvidia-dali-cuda120", "pydicom"),
)
"""Libraries that results and speed depend on."""


def installed_versions() -> dict[str, str]:
    """Return the versions of pneumo, Python and those of the libraries that are installed, by name."""
    found = {"pneumo": __version__, "Python": platform.python_version()}
    for library in LIBRARIES:
        try:
            found[library] = version(library)
        except PackageNotFoundError:
            continue
    return found
