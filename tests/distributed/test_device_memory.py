"""Errors of too little memory, as each library words them, and the memory that is given back."""

import errno
import gc
import sys
import weakref
from types import SimpleNamespace

import pytest
import torch

from pneumo.distributed.device_memory import explain_out_of_memory, is_out_of_memory, measure_peak, release_memory
from pneumo.runtime.errors import UserError

ERRORS: list[BaseException] = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of 15.77 GiB"),
    torch.AcceleratorError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"),
    torch.distributed.DistBackendError(
        "NCCL error: unhandled cuda error\nncclUnhandledCudaError: Call to CUDA function failed.\nLast error:\n"
        "Failed to CUDA calloc async 608 bytes"
    ),
    torch.distributed.DistBackendError("NCCL error\nLast error:\nCuda failure 2 'out of memory'"),
    RuntimeError("Critical error in pipeline:\nError in MIXED operator `nvidia.dali.fn.decoders.image`:\nCan't allocate"
                 " 8388608 bytes on device 0."),
    RuntimeError("CUDA allocation failed"),
    RuntimeError("nvJPEG error: NVJPEG_STATUS_ALLOCATOR_FAILURE"),
    MemoryError("std::bad_alloc"),
    OSError(errno.ENOMEM, "Cannot allocate memory"),
]  # fmt: skip
OTHERS: list[BaseException] = [
    torch.AcceleratorError("CUDA error: an illegal memory access was encountered"),
    torch.distributed.DistBackendError("NCCL error: remote process exited or there was a network error"),
    RuntimeError("Error in MIXED operator `nvidia.dali.fn.decoders.image`: Unsupported image type."),
    OSError(errno.EIO, "Input/output error"),
    ValueError("out of memory"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: str(error)[:40])
def test_every_library_s_words_are_known(error: BaseException) -> None:
    assert is_out_of_memory(error)
    with (
        pytest.raises(
            UserError, match=r"^too little memory \(.*\); expected memory for a step; lower --micro-batch-size$"
        ),
        explain_out_of_memory("a step", "lower --micro-batch-size"),
    ):
        raise error


@pytest.mark.parametrize("error", OTHERS, ids=lambda error: str(error)[:40])
def test_other_errors_stay_what_they_are(error: BaseException) -> None:
    assert not is_out_of_memory(error)
    with pytest.raises(type(error)) as raised, explain_out_of_memory("a step", "lower --micro-batch-size"):
        raise error
    assert raised.value is error


def test_torch_s_own_error_on_a_cpu_is_known() -> None:
    with pytest.raises(UserError, match="too little memory"), explain_out_of_memory("a step", "lower it"):
        torch.empty(1 << 60, dtype=torch.uint8)


def test_memory_in_circles_and_in_the_pools_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    class Node:
        pass

    released = []
    pool = SimpleNamespace(ReleaseUnusedMemory=lambda: released.append("DALI"))
    monkeypatch.setitem(sys.modules, "nvidia.dali.backend", pool)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: released.append("torch"))
    gc.disable()
    try:
        node = Node()
        node.itself = node  # type: ignore[attr-defined]
        reference = weakref.ref(node)
        del node
        assert reference() is not None
        release_memory()
        assert reference() is None
    finally:
        gc.enable()
    assert released == ["torch", "DALI"]


def test_dali_s_pool_can_be_released_without_a_gpu() -> None:
    pytest.importorskip("nvidia.dali.backend")
    release_memory()


@pytest.mark.gpu
def test_a_gpu_s_memory_is_given_back_and_its_end_is_explained() -> None:
    device = torch.device("cuda")
    free = torch.cuda.mem_get_info(device)[0]
    tensor = torch.empty(free // 4, dtype=torch.uint8, device=device)
    del tensor
    release_memory()
    assert torch.cuda.memory_reserved(device) < free // 4
    with pytest.raises(UserError, match="too little memory"), explain_out_of_memory("a step", "lower it"):
        torch.empty(1 << 50, dtype=torch.uint8, device=device)


def test_the_peak_of_a_gpu_is_taken_and_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda device: calls.append(("peak", device)) or 5)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: calls.append(("reset", device)))
    device = torch.device("cuda", 1)
    assert measure_peak(device) == 5
    assert calls == [("peak", device), ("reset", device)]
    assert measure_peak(torch.device("cpu")) == 0
