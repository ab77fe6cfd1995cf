"""Imports segmentation-models, and with it torchvision and timm, without torch's compiler.

The compiler's import takes as long as torch's own, and nobody has asked for it yet: torchvision wants one function of
it, for a layer that no network here has, and timm marks methods of a network that no decoder fits as not to be
compiled.
"""

import contextlib
import sys
from collections.abc import Iterator
from importlib import import_module
from types import ModuleType
from typing import Any

import torch

COMPILER = "torch._dynamo"
_UTILS = f"{COMPILER}.utils"


def import_models() -> ModuleType:
    """Return segmentation-models; where its libraries need the compiler after all, it is imported, too."""
    if COMPILER not in sys.modules:
        with contextlib.suppress(ImportError), _without_compiler():
            return import_module("segmentation_models_pytorch")
    return import_module("segmentation_models_pytorch")


@contextlib.contextmanager
def _without_compiler() -> Iterator[None]:
    """Make importing the compiler an ImportError, but for what torchvision and timm ask of it."""
    utils: Any = ModuleType(_UTILS)
    utils.is_compile_supported = _is_compile_supported
    disable = torch.compiler.disable
    torch.compiler.disable = _leave
    # Python finds the whole name before it looks for the package.
    sys.modules.update({COMPILER: None, _UTILS: utils})  # type: ignore[dict-item]
    try:
        yield
    finally:
        del sys.modules[COMPILER], sys.modules[_UTILS]
        torch.compiler.disable = disable


def _is_compile_supported(device_type: str) -> bool:
    from torch._dynamo.utils import is_compile_supported

    return bool(is_compile_supported(device_type))


def _leave(function: Any = None, recursive: bool = True, *, reason: str | None = None) -> Any:
    """Return the function as it is; without one, what does so."""
    return _leave if function is None else function


smp: Any = import_models()
