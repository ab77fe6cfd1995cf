"""A copy in host memory: equal, apart from what training changes later, and in memory that is taken once."""

import io
from typing import Any

import pytest
import torch

from pneumo.training import host_copy
from pneumo.training.host_copy import HostCopy, layouts

CPU = torch.device("cpu")


def state() -> dict[str, Any]:
    """Return what a checkpoint has of containers, types and memory formats."""
    flat = torch.rand(100)
    return {
        "weights": {
            "conv": torch.rand(2, 3, 4, 5).to(memory_format=torch.channels_last),
            "part of a flat buffer": flat[10:20],
            "parameter": torch.nn.Parameter(torch.rand(3)),
            "gaps": torch.rand(4, 6)[:, ::2],
            "one value for all": torch.ones(1).expand(3, 2),
            "empty": torch.empty(0, 3),
        },
        "steps": [torch.tensor(7), (torch.arange(5), "adam", None)],
        "rate": 0.5,
    }


def equal(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return list(one) == list(other) and all(equal(one[name], other[name]) for name in one)
    if isinstance(one, (list, tuple)):
        return type(one) is type(other) and len(one) == len(other) and all(map(equal, one, other))
    return bool(one == other)


def test_a_copy_is_equal_and_keeps_what_was_copied() -> None:
    torch.manual_seed(0)
    value = state()
    before = torch.load(saved(value), weights_only=True)
    copied = HostCopy(CPU).take(value)
    assert equal(copied, value)
    value["weights"]["conv"].zero_()
    value["steps"][0] += 1
    value["steps"].append(1)
    value["rate"] = 2
    assert equal(copied, before)
    assert copied["weights"]["conv"].is_contiguous(memory_format=torch.channels_last)


def saved(value: Any) -> io.BytesIO:
    file = io.BytesIO()
    torch.save(value, file)
    file.seek(0)
    return file


def test_torch_save_writes_a_copied_tensor_and_not_all_memory() -> None:
    copied = HostCopy(CPU).take([torch.rand(10), torch.rand(20)])
    assert len(saved(copied[0]).getvalue()) < 5_000
    assert torch.equal(torch.load(saved(copied[1])), copied[1])


def test_the_next_copy_takes_no_more_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_copy, "CHUNK_BYTES", 256)
    memory = HostCopy(CPU)
    value = [torch.rand(30), torch.rand(10), torch.rand(300), torch.rand(30)]
    memory.reserve(layouts(value))
    taken = memory.bytes
    # One for the first and the second, 1200 bytes for the third, one for the fourth.
    assert taken == 256 + 1200 + 256
    first = memory.take(value)
    assert equal(first, value)
    second = memory.take([tensor + 1 for tensor in value])
    assert [a.data_ptr() for a in first] == [b.data_ptr() for b in second]
    # Another order needs other places, in the same memory.
    value = value[::-1][1:]
    assert equal(memory.take(value), value)
    assert memory.bytes == taken


@pytest.mark.gpu
def test_a_copy_of_a_gpu_has_the_values_of_when_it_was_taken() -> None:
    device = torch.device("cuda")
    memory = HostCopy(device)
    counter, large = torch.tensor(3), torch.full((1 << 24,), 1.0, device=device)
    for value in (1.0, 2.0):
        large.fill_(value)
        copied = memory.take({"large": large, "counter": counter})
        large.fill_(-1)
        memory.wait()
        assert copied["large"].is_pinned()
        assert bool((copied["large"] == value).all())
        assert copied["counter"] == 3
