"""Reading files of weights from any source, within bounds and without running code; writing safetensors files."""

import json
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

from pneumo.runtime.errors import UserError, first_line

MAX_FILE_BYTES = 16 << 30
"""16 GiB; the weights of the largest encoders take 4."""
MAX_HEADER_BYTES = 16 << 20
"""16 MiB, of a safetensors file; a thousand tensors need 0.1."""
_DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.bfloat16: "BF16",
    torch.float16: "F16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
"""The format's names of the types that weights have."""
_WRAPPERS = ("state_dict", "model")
_MAX_WRAPPERS = 8
"""A dict may contain itself."""


def read_state(path: Path) -> dict[str, Tensor]:
    """Read a state dict from a ``.safetensors`` file, or from ``.pth``/``.pt`` without running code in it.

    A dict that holds the tensors under ``state_dict`` or ``model``, as many training scripts save it, is unwrapped.

    Raises:
        UserError: When the file is missing, is not a state dict, has tensors of a kind that weights do not have, or
            loading it would run code.
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
    state = content
    for _ in range(_MAX_WRAPPERS):
        inner = (
            [state[name] for name in _WRAPPERS if isinstance(state.get(name), dict)] if isinstance(state, dict) else []
        )
        state = inner[0] if inner else state
    if not isinstance(state, dict) or not all(isinstance(k, str) and isinstance(v, Tensor) for k, v in state.items()):
        raise UserError(f"{path} holds {type(state).__name__}", "a dict of tensors", "save state_dict() only")
    for name, tensor in state.items():
        if kind := _unsupported_kind(tensor):
            raise UserError(
                f"{path}: {name} is {kind}",
                f"dense tensors of {', '.join(str(dtype).removeprefix('torch.') for dtype in _DTYPES)}",
                "save the state_dict() of the model in float32",
            )
    return dict(state)


def _unsupported_kind(tensor: Tensor) -> str:
    """Return of which kind a tensor is that no network here can have, an empty string for a supported one."""
    if tensor.is_nested:
        return "nested"
    if tensor.layout != torch.strided:
        return f"a tensor of layout {str(tensor.layout).removeprefix('torch.')}"
    if tensor.is_meta:
        return "a tensor without values"
    return "" if tensor.dtype in _DTYPES else f"of {str(tensor.dtype).removeprefix('torch.')}"


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


def write_safetensors(tensors: Mapping[str, Tensor], write: Callable[[memoryview | bytes], object]) -> None:
    """Write a safetensors file piece by piece; the library makes two copies of all tensors first.

    The format: the header's length in 8 bytes, the header as JSON, padded to 8 bytes, and the tensors without gaps,
    those of larger elements first, so that all are aligned (https://github.com/huggingface/safetensors#format).

    Args:
        tensors: On any device; one at a time is copied to the host.
        write: Called with one piece after another.

    Raises:
        KeyError: For a type of elements that no weights have.
    """
    ordered = sorted(tensors.items(), key=lambda entry: (-entry[1].dtype.itemsize, entry[0]))
    header: dict[str, object] = {}
    end = 0
    for name, tensor in ordered:
        begin, end = end, end + tensor.nbytes
        header[name] = {"dtype": _DTYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    write(len(text).to_bytes(8, "little") + text)
    for _, tensor in ordered:
        write(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)


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
    except Exception as error:  # on damaged bytes the unpickler raises errors of every kind, a KeyError of a number too
        # Torch's own text is several lines, and advises to allow code.
        kind = type(error).__name__
        raise ValueError(
            f"damaged, no file of torch.save, or with more in it than tensors, numbers and text ({kind})"
        ) from error


def _check_size(path: Path) -> None:
    if path.exists() and not path.is_file():
        raise ValueError("not a regular file")
    size = path.stat().st_size
    if size > MAX_FILE_BYTES:
        raise ValueError(f"{size} bytes")
