import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pneumo.dataset import workers


def double(number: int) -> int:
    return 2 * number


def die_on_seven(number: int) -> int:
    if number == 7:
        os._exit(1)
    time.sleep(0.002)
    return 2 * number


def die_once(mark: Path) -> int:
    """Die at the first try: what the kernel's memory killer does to whoever is there."""
    if not mark.exists():
        mark.touch()
        os._exit(1)
    return 1


def raise_value_error(number: int) -> int:
    raise ValueError(f"number {number}")


@pytest.mark.parametrize("count", [0, 1, 9])
def test_every_item_is_done_once(count: int) -> None:
    assert sorted(workers.run(double, range(count), 2)) == [(n, 2 * n) for n in range(count)]


def test_item_that_ends_its_process_gives_none_and_the_others_their_results() -> None:
    results = dict(workers.run(die_on_seven, range(20), 3))
    assert results == {n: None if n == 7 else 2 * n for n in range(20)}


def test_item_that_dies_once_is_tried_again(tmp_path: Path) -> None:
    assert list(workers.run(die_once, [tmp_path / "mark"], 1)) == [(0, 1)]


def test_errors_of_the_function_come_through() -> None:
    with pytest.raises(ValueError, match="number 3"):
        list(workers.run(raise_value_error, [3], 1))


def test_processes_that_cannot_start_are_not_blamed_on_the_items(tmp_path: Path) -> None:
    script = tmp_path / "unguarded.py"
    # Without a guard every worker runs the script again, which may not start processes of its own.
    script.write_text("import sys\nfrom pneumo.dataset import workers\nprint(list(workers.run(abs, [1, 2], 2)))\n")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    ended = subprocess.run(
        [sys.executable, str(script)], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 1
    assert "worker processes end as soon as they start" in ended.stderr
    assert ended.stdout == ""
