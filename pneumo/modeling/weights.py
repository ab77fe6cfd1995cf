"""Loading an encoder's weights from a local file.

Clusters without internet access need encoder weights from a local file.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

from torch import Tensor, nn

from pneumo.modeling.weight_files import read_state
from pneumo.runtime.errors import UserError

HEADS = ("fc.", "_fc.", "classifier.", "last_linear.", "head.", "output.", "logits.")
"""Prefixes of the ImageNet classifiers that encoders leave out."""
MAX_KEYS_SHOWN = 5
"""How many keys of each kind an error names."""


def load_encoder(encoder: nn.Module, path: Path) -> None:
    """Load a local file into a segmentation-models encoder with three input channels.

    torchvision's and pretrainedmodels' files fit the encoders of the same name, timm's fit ``tu-`` encoders, and an
    encoder of our own takes its own state dict. The ImageNet classifier in the file is ignored.

    Raises:
        UserError: When tensors are missing, unexpected or of another shape, naming them.
    """
    expected = encoder.state_dict()
    state = {k: v for k, v in read_state(path).items() if k in expected or not k.startswith(HEADS)}
    if hasattr(encoder, "model"):
        state = _timm_names(state, expected)
    # The encoder's own method may rename or drop keys in the dict it is given, hence a copy.
    try:
        encoder.load_state_dict(dict(state))
    except RuntimeError as error:
        raise UserError(
            f"{path} does not fit the encoder: {differences(encoder.state_dict(), state)}",
            "the ImageNet weights of the same architecture",
            "check that encoder and encoder_weights name the same network",
        ) from error


def _timm_names(state: dict[str, Tensor], expected: Iterable[str]) -> dict[str, Tensor]:
    """Rename timm's keys to those of its feature extractor, which flattens outer containers into names.

    What the extractor does not use (layers after the last feature map) is dropped.
    """
    names = set(expected)
    renamed = {}
    for key, value in state.items():
        for candidate in (f"model.{key}", f"model.{key.replace('.', '_', 1)}", key):
            if candidate in names:
                renamed[candidate] = value
                break
    return renamed


def differences(expected: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> str:
    """Describe how two state dicts differ, with the first few keys of each kind."""
    # Files from before PyTorch 0.4.1 have no batch counters, and loading fills them in.
    missing = [key for key in expected if key not in given and not key.endswith("num_batches_tracked")]
    unexpected = [key for key in given if key not in expected]
    reshaped = [
        f"{key} {tuple(given[key].shape)} for {tuple(value.shape)}"
        for key, value in expected.items()
        if key in given and given[key].shape != value.shape
    ]
    kinds = {"missing": missing, "unexpected": unexpected, "of another shape": reshaped}
    return "; ".join(_listing(kind, keys) for kind, keys in kinds.items() if keys)


def _listing(kind: str, keys: list[str]) -> str:
    more = f" and {len(keys) - MAX_KEYS_SHOWN} more" if len(keys) > MAX_KEYS_SHOWN else ""
    return f"{len(keys)} {kind}: {', '.join(keys[:MAX_KEYS_SHOWN])}{more}"
