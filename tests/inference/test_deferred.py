"""What is read late on a GPU, and at once on a CPU."""

from collections.abc import Iterator

import pytest
import torch

from pneumo.inference.deferred import Copy, behind


@pytest.mark.parametrize(("device", "late"), [("cpu", 0), ("cuda", 1)])
def test_on_a_gpu_each_item_comes_after_the_next_was_taken(device: str, late: int) -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(4):
            taken.append(number)
            yield number

    seen = []
    for number in behind(items(), torch.device(device)):
        seen.append(number)
        assert len(taken) == min(number + 1 + late, 4)
    assert seen == [0, 1, 2, 3]
    assert list(behind([], torch.device(device))) == []


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_a_copy_is_complete_when_it_was_waited_for(device: str) -> None:
    given = [torch.arange(1 << 20, device=device), torch.full((3,), 0.5, device=device)]
    copies = Copy(*given).wait()
    assert all(copy.device.type == "cpu" for copy in copies)
    assert all(torch.equal(copy, tensor.cpu()) for copy, tensor in zip(copies, given, strict=True))
    assert device == "cpu" or all(copy.is_pinned() for copy in copies)
