"""Locks of all ranks: acquired together, refused together, released together."""

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pneumo.distributed.world import World
from pneumo.runtime import locks
from pneumo.runtime.errors import StartAgain, UserError
from pneumo.training.locking import exclusive_locks


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "hold", functools.partial(locks.hold, wait_s=0.0))


def test_the_locks_are_held_while_the_block_runs(tmp_path: Path, world: World) -> None:
    paths = [(tmp_path / f"fold-{k}" / ".lock", f"fold {k}") for k in (0, 1)]
    with exclusive_locks(paths, world):
        assert all(path.is_file() for path, _ in paths)
    assert not any(path.exists() for path, _ in paths)


def test_when_one_lock_is_held_elsewhere_none_is_kept(tmp_path: Path, world: World) -> None:
    free, held = (tmp_path / "a", "fold 0 of run"), (tmp_path / "b", "fold 1 of run")
    with locks.hold(held[0], held[1]):
        with (
            pytest.raises(
                UserError, match=r"another process works on fold 1 of run .*; expected one process at a time"
            ),
            exclusive_locks([free, held], world),
        ):
            raise AssertionError("the block ran")
        assert held[0].exists()
    assert not free[0].exists()
    with exclusive_locks([free, held], world):
        assert free[0].exists()


def test_the_locks_are_released_when_the_block_fails(tmp_path: Path, world: World) -> None:
    with pytest.raises(ZeroDivisionError), exclusive_locks([(tmp_path / "a", "fold 0")], world):
        raise ZeroDivisionError
    assert not (tmp_path / "a").exists()


def test_in_a_pod_a_held_lock_is_waited_for_by_starting_again(
    tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.96.0.1")
    path = tmp_path / "a"
    with (
        locks.hold(path, "fold 0"),
        pytest.raises(StartAgain, match=r"^another process works on fold 0 \(process \d+ on "),
        exclusive_locks([(path, "fold 0")], world),
    ):
        raise AssertionError("the block ran")


@dataclass(frozen=True, kw_only=True)
class WithRefusedPeer(World):
    """A rank beside another one that did not get its lock."""

    def gather(self, value: Any) -> list[Any]:
        return [value, ["another job works on fold 3"]]


def test_a_rank_fails_when_another_one_is_refused(tmp_path: Path, world: World) -> None:
    beside = WithRefusedPeer(**vars(world))
    with (
        pytest.raises(UserError, match=r"^another job works on fold 3; expected one process at a time"),
        exclusive_locks([(tmp_path / "a", "fold 0")], beside),
    ):
        raise AssertionError("the block ran")
    assert not (tmp_path / "a").exists()
