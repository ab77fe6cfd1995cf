"""The memory of the device: given back between folds, and what to do where it is not enough."""

import errno
import gc
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from pneumo.runtime.errors import UserError, first_line

_OUT_OF_MEMORY = re.compile(
    # Of torch and CUDA, and of NCCL where it passes CUDA's text on.
    r"out of memory|failed to cuda calloc"
    # Of cuBLAS, cuDNN and nvJPEG.
    r"|CUBLAS_STATUS_ALLOC_FAILED|CUDNN_STATUS_\w*ALLOC(ATION)?_FAILED|NVJPEG_STATUS_ALLOCATOR_FAILURE"
    # Of DALI.
    r"|CUDA allocation failed|can't allocate \d+ bytes on|std::bad_alloc"
    # Of torch on a CPU.
    r"|DefaultCPUAllocator: ",
    re.IGNORECASE,
)


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error is that a GPU or the machine has too little memory, whichever library says so."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and _OUT_OF_MEMORY.search(str(error)) is not None


@contextmanager
def explain_out_of_memory(expected: str, action: str) -> Iterator[None]:
    """Turn too little memory into an error of the user's, which no launcher tries again.

    Args:
        expected: What there should be memory for.
        action: Which flags need less.

    Raises:
        UserError: In place of the library's error.
    """
    try:
        yield
    except (RuntimeError, MemoryError, OSError) as error:
        if not is_out_of_memory(error):
            raise
        raise UserError(f"too little memory ({first_line(error)})", f"memory for {expected}", action) from error


def measure_peak(device: torch.device) -> int:
    """Return the most bytes that torch has taken of a GPU since the last call; 0 on a CPU.

    What DALI takes is not in it.
    """
    if device.type != "cuda":
        return 0
    peak = torch.cuda.max_memory_reserved(device)
    torch.cuda.reset_peak_memory_stats(device)
    return peak


def release_memory() -> None:
    """Give back what nothing refers to any more, to the other libraries and to the other processes of a GPU."""
    # Networks and pipelines refer to themselves in circles.
    gc.collect()
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.empty_cache()
    # DALI has a pool of its own, and is imported only where it loads the images.
    backend = sys.modules.get("nvidia.dali.backend")
    if backend is not None:
        backend.ReleaseUnusedMemory()
