"""A copy in host memory of what training changes on the device, so that it can be written while training goes on."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch

CHUNK_BYTES = 64 << 20
"""Memory is taken in pieces of this size: torch rounds pinned memory up to a power of two, and the largest tensor of
the recipes' networks has 9 MB, so that little of a piece stays unused."""
_ALIGNMENT = 64


class TensorLayout(NamedTuple):
    """What a place in memory must offer to a tensor."""

    shape: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype


class HostCopy:
    """Memory for one copy, which the next one reuses.

    Args:
        device: Where the tensors are; of a GPU they are copied to pinned memory, in the order of its current stream.
    """

    def __init__(self, device: torch.device) -> None:
        self._on_gpu = device.type == "cuda"
        self._chunks: list[torch.Tensor] = []
        self._layout: list[TensorLayout] = []
        self._places: list[torch.Tensor] = []
        self._copied: torch.cuda.Event | None = None

    @property
    def bytes(self) -> int:
        """Host memory that is taken."""
        return sum(chunk.nbytes for chunk in self._chunks)

    def reserve(self, layout: Sequence[TensorLayout]) -> None:
        """Take memory for tensors: the first touch of a page costs ten times what copying it does."""
        if self._layout != layout:
            self._places = list(self._divide(layout))
            self._layout = list(layout)

    def take(self, value: Any) -> Any:
        """Copy the tensors in nested dicts, lists and tuples, and these, too; what was copied before is overwritten.

        On a GPU the copy is complete after ``wait``; steps queued later do not change it.
        """
        tensors = list(_tensors(value))
        self.reserve([layout_of(tensor) for tensor in tensors])
        if tensors:
            # One call: the loop over two thousand tensors runs without the interpreter.
            torch._foreach_copy_(self._places, tensors, non_blocking=True)
        if self._on_gpu:
            self._copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._copied.record()
        return _replace(value, iter(self._places))

    def wait(self) -> None:
        """Wait until the copy is complete."""
        if self._copied is not None:
            self._copied.synchronize()

    def _divide(self, layout: Sequence[TensorLayout]) -> Iterator[torch.Tensor]:
        """Yield a place for each tensor, with a storage of its own: torch.save writes whole storages."""
        index = offset = 0
        for shape, stride, dtype in layout:
            size = math.prod(shape)
            needed = size * dtype.itemsize
            if needed == 0:
                yield torch.empty(shape, dtype=dtype)
                continue
            while index < len(self._chunks) and offset + needed > self._chunks[index].nbytes:
                index, offset = index + 1, 0
            if index == len(self._chunks):
                self._chunks.append(self._allocate(max(needed, CHUNK_BYTES)))
            flat = torch.frombuffer(self._chunks[index].numpy(), dtype=dtype, count=size, offset=offset)
            yield flat.as_strided(shape, stride)
            offset += -(-needed // _ALIGNMENT) * _ALIGNMENT

    def _allocate(self, size: int) -> torch.Tensor:
        # Filled, so that the system gives the pages now.
        return torch.empty(size, dtype=torch.uint8, pin_memory=self._on_gpu).fill_(0)


def layouts(value: Any) -> list[TensorLayout]:
    """Return the layout of each tensor in nested containers, in the order of ``HostCopy.take``."""
    return [layout_of(tensor) for tensor in _tensors(value)]


def layout_of(tensor: torch.Tensor) -> TensorLayout:
    """Return the layout of a tensor's copy: its own, in which copying is fastest, unless it has gaps or overlaps."""
    stride = tensor.stride()
    if not tensor.is_contiguous():
        stride = torch.empty_like(tensor, device="meta").stride()
    return TensorLayout(tuple(tensor.shape), stride, tensor.dtype)


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value.detach()
    elif isinstance(value, Mapping):
        for entry in value.values():
            yield from _tensors(entry)
    elif isinstance(value, (list, tuple)):
        for entry in value:
            yield from _tensors(entry)


def _replace(value: Any, places: Iterator[torch.Tensor]) -> Any:
    """Return a value with its tensors replaced, in the order of ``_tensors``."""
    if isinstance(value, torch.Tensor):
        return next(places)
    if isinstance(value, Mapping):
        return {name: _replace(entry, places) for name, entry in value.items()}
    if isinstance(value, list):
        return [_replace(entry, places) for entry in value]
    if isinstance(value, tuple):
        return tuple(_replace(entry, places) for entry in value)
    return value
