"""How many micro-batches share a forward pass, with stand-ins for a GPU's memory."""

from dataclasses import dataclass, replace

import pytest
import torch
from torch import nn

from pneumo.distributed.collectives import Group
from pneumo.modeling.ghost_batch_norm import GhostBatchNorm2d
from pneumo.training.pass_size import SHARE, PassSize, affordable
from pneumo.training.recipe import Recipe

RECIPE = Recipe(batch_size=16, micro_batch_size=2)
CUDA, CPU = torch.device("cuda", 0), torch.device("cpu")
GIB = 2**30


@dataclass(frozen=True, kw_only=True)
class WithPeer(Group):
    """A group whose other rank can have three at once."""

    def largest(self, value: float) -> float:
        return max(value, -3)


def group(device: torch.device, size: int = 1) -> Group:
    return Group(rank=0, size=size, device=device)


def network(*layers: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), *layers).train()


def install(monkeypatch: pytest.MonkeyPatch, *, peak: float, free: float) -> None:
    """Let a step take ``peak`` GiB with ``free`` GiB left, of which a half is kept by torch."""
    state = {
        "reset_peak_memory_stats": lambda _: None,
        "memory_allocated": lambda _: GIB,
        "max_memory_allocated": lambda _: int((1 + peak) * GIB),
        "memory_reserved": lambda _: int((1 + free / 2) * GIB),
        "mem_get_info": lambda _: (int(free / 2 * GIB), 80 * GIB),
    }
    for name, function in state.items():
        monkeypatch.setattr(torch.cuda, name, function)


@pytest.mark.parametrize(("images_at_once", "expected"), [(0, 1), (2, 1), (4, 2), (16, 8), (64, 8)])
def test_a_cpu_has_one_unless_told(images_at_once: int, expected: int) -> None:
    model = network()
    passes = PassSize(model, RECIPE, group(CPU), images_at_once)
    assert passes.begin_step(512) == expected
    passes.end_step(512)
    assert passes.begin_step(512) == expected
    assert isinstance(model[1], GhostBatchNorm2d) == (expected > 1)  # type: ignore[index]


@pytest.mark.parametrize(
    ("peak", "free", "expected"), [(1.0, 100.0, 8), (2.0, 10.0, 4), (10.0, 10.0, 1), (1.0, 0.0, 1)]
)
def test_a_gpu_gets_what_its_memory_holds_from_the_second_step_of_each_size(
    peak: float, free: float, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, peak=peak, free=free)
    passes = PassSize(network(), RECIPE, group(CUDA), 0)
    for size in (256, 512):
        assert passes.begin_step(size) == 1
        passes.end_step(size)
        assert passes.begin_step(size) == expected
        passes.end_step(size)


@pytest.mark.parametrize(
    ("micro_batch_size", "size", "expected"), [(4, 512, 4), (4, 736, 1), (4, 1024, 1), (16, 512, 1), (2, 1024, 2)]
)
def test_a_gpu_that_a_pass_keeps_busy_gets_no_more(
    micro_batch_size: int, size: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, peak=1.0, free=1000.0)
    recipe = replace(RECIPE, batch_size=64, micro_batch_size=micro_batch_size)
    passes = PassSize(network(), recipe, group(CUDA), 0)
    assert passes.begin_step(size) == 1
    passes.end_step(size)
    assert passes.begin_step(size) == expected


def test_the_rank_with_the_least_memory_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, peak=1.0, free=100.0)
    passes = PassSize(network(), RECIPE, WithPeer(rank=0, size=2, device=CUDA), 0)
    passes.end_step(512)
    assert passes.begin_step(512) == 3


def test_a_rank_s_share_is_the_most(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, peak=1.0, free=1000.0)
    passes = PassSize(network(), RECIPE, group(CUDA, size=3), 0)
    passes.end_step(512)
    assert passes.begin_step(512) == 3


def test_dropout_has_a_pass_for_each_without_a_word_where_nothing_was_asked_for() -> None:
    assert PassSize(network(nn.Dropout(0.5)), RECIPE, group(CUDA), 0).begin_step(512) == 1


def test_one_micro_batch_needs_no_choice() -> None:
    recipe = replace(RECIPE, batch_size=2)
    model = network()
    assert PassSize(model, recipe, group(CUDA), 0).begin_step(512) == 1
    assert type(model[1]) is nn.BatchNorm2d  # type: ignore[index]


def test_affordable_fills_a_share_of_the_free_memory() -> None:
    assert SHARE == 0.8
    assert [affordable(10, free, 8) for free in (0, 12, 24, 25, 50, 99, 100, 1000)] == [1, 1, 1, 2, 4, 7, 8, 8]
    assert affordable(0, 0, 8) == 1
