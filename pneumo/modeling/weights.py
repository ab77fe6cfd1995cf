"""Files of weights from any source: read within bounds and without running code, and loaded into a network.

Clusters without internet access need encoder weights from a local file.
"""

import warnings
from collections.abc import Iterable
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor, nn

from pneumo.runtime.errors import UserError, first_line

HEADS = ("fc.", "_fc.", "classifier.", "last_linear.", "head.", "output.", "logits.")
"""Prefixes of the ImageNet classifiers that encoders leave out."""
MAX_FILE_BYTES = 16 << 30
"""16 GiB; the weights of the largest encoders take 4."""
MAX_HEADER_BYTES = 16 << 20
"""16 MiB, of a safetensors file; a thousand tensors need 0.1."""
MAX_KEYS_SHOWN = 5
"""How many keys of each kind an error names."""


def read_state(path: Path) -> dict[str, Tensor]:
    """Read a state dict from a ``.safetensors`` file, or from ``.pth``/``.pt`` without running code in it.

    A dict that holds the tensors under ``state_dict``, as many training scripts save it, is unwrapped.

    Raises:
        UserError: When the file is missing, is not a state dict, or loading it would run code.
    """
    if not path.is_file():
        raise UserError(
            f"no weights file {path}",
            "a .pth, .pt or .safetensors file",
            "correct --model.encoder-weights, or give none or imagenet",
        )
    try:
        content = read_safetensors(path) if path.suffix == ".safetensors" else read_pickled(path)
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path} cannot be read: {first_line(error)}",
            "a state dict saved by torch.save or safetensors",
            "save the model's state_dict() again, without other objects",
        ) from error
    state = content.get("state_dict", content) if isinstance(content, dict) else content
    if not isinstance(state, dict) or not all(isinstance(k, str) and isinstance(v, Tensor) for k, v in state.items()):
        raise UserError(f"{path} holds {type(state).__name__}", "a dict of tensors", "save state_dict() only")
    return dict(state)


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a safetensors file onto the CPU.

    Raises:
        OSError: When the file is missing or cannot be read.
        ValueError: When it or its header is too large, or it is inconsistent.
    """
    _check_size(path)
    with path.open("rb") as file:
        # The library reads headers of up to 100 MB of JSON, which take a hundred times that in memory.
        length = int.from_bytes(file.read(8), "little")
    if length > MAX_HEADER_BYTES:
        raise ValueError(f"a header of {length} bytes")
    try:
        # Read, not memory-mapped: a page that cannot be read would kill the process without a message.
        return safetensors.torch.load(path.read_bytes())
    except (safetensors.SafetensorError, KeyError, RuntimeError, MemoryError) as error:
        raise ValueError(first_line(error)) from error


def read_pickled(path: Path) -> object:
    """Read what ``torch.save`` wrote onto the CPU: containers of tensors, numbers and strings, and nothing else.

    Raises:
        OSError: When the file is missing or cannot be read.
        ValueError: When it is too large, damaged, or loading it would run code.
    """
    _check_size(path)
    try:
        with warnings.catch_warnings():
            # A warning about TorchScript archives, which are refused.
            warnings.simplefilter("ignore")
            # weights_only: a pickle from an unknown source must not run code here.
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # on damaged bytes the unpickler raises errors of every kind
        raise ValueError(first_line(error)) from error


def load(network: nn.Module, path: Path) -> None:
    """Load a fold's published weights into a network with the same parameters.

    Raises:
        UserError: When the file is missing, damaged, or of another network.
    """
    try:
        state = read_safetensors(path)
        network.load_state_dict(state)
    except (OSError, ValueError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or error
        if isinstance(error, RuntimeError):
            reason = _differences(network.state_dict(), state) or first_line(error)
        raise UserError(f"{path}: {reason}", "the weights of a finished fold", "train the fold again") from error


def _check_size(path: Path) -> None:
    if path.exists() and not path.is_file():
        raise ValueError("not a regular file")
    size = path.stat().st_size
    if size > MAX_FILE_BYTES:
        raise ValueError(f"{size} bytes")


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
            f"{path} does not fit the encoder: {_differences(encoder.state_dict(), state)}",
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


def _differences(expected: dict[str, Tensor], given: dict[str, Tensor]) -> str:
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
