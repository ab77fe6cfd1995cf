"""A stop that reaches one rank alone ends all ranks, publishes nothing by halves, and is resumed to the same bytes."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from job_commands import RECIPE
from waiting import LONG_S

PRODUCTS = ["fold-0/model.safetensors", "fold-1/model.safetensors", "fold-0/oof.parquet", "oof.csv", "oof.parquet"]
PRODUCTS += ["thresholds.json", "metrics.json", "submission.csv"]
World = tuple[str, Sequence[object], str, int]


def run_worlds(worlds: Sequence[World]) -> list[tuple[list[int], str]]:
    """Run worlds of two ranks one after another; return the exit codes and the output of each."""
    words = [(command, [*map(str, flags)], point, stopped) for command, flags, point, stopped in worlds]
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name("stopped_ranks.py")],
        input=json.dumps(words), capture_output=True, text=True, cwd="/", timeout=LONG_S, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [(codes, output) for codes, output in json.loads(done.stdout)]


@pytest.fixture(scope="module")
def undisturbed(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose first fold was trained by two ranks together, as those that are stopped."""
    directory = tmp_path_factory.mktemp("runs") / "undisturbed"
    flags = ["--dataset", dataset, "--run", directory, *RECIPE]
    ended = run_worlds([("train", [*flags, "--folds", 0], "never", 0), ("train", flags, "never", 0)])
    assert [codes for codes, _ in ended] == [[0, 0], [0, 0]], ended
    return directory


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stopped", "points"),
    [
        # Of one that is not the leader, which finishes what it writes.
        (1, ["metrics", "submission"]),
        (0, ["metrics", "publishing", "submission"]),
    ],
)
def test_a_stop_that_reaches_one_rank_alone_stops_all_and_is_resumed_to_the_same_bytes(
    stopped: int, points: list[str], undisturbed: Path, dataset: Path, tmp_path: Path
) -> None:
    directory, out = tmp_path / "run", tmp_path / "submission.csv"
    flags = ["--dataset", dataset, "--run", directory, *RECIPE]
    ensemble = ["--runs", directory, "--dataset", dataset, "--out", out]
    stops = [
        ("train", [*flags, "--folds", 0], "fold", stopped),
        # Rank 0 has nothing left to train, and waits; rank 1 trains fold 1.
        ("train", flags, "fold of another group", 0),
        *(("train", flags, point, stopped) for point in points),
        ("ensemble", ensemble, "submission", stopped),
    ]
    *ended, train_again, ensemble_again = run_worlds(
        [*stops, ("train", flags, "never", 0), ("ensemble", ensemble, "never", 0)]
    )
    for (_, _, point, _), (codes, output) in zip(stops, ended, strict=True):
        assert codes == [3, 3], (point, output)
        assert "Traceback" not in output
        assert "SIGTERM" in output
    assert train_again[0] == ensemble_again[0] == [0, 0], (train_again, ensemble_again)
    assert "epoch" not in train_again[1]
    for name in PRODUCTS:
        assert (directory / name).read_bytes() == (undisturbed / name).read_bytes(), name
    assert out.read_bytes() == (directory / "submission.csv").read_bytes()
    assert not list(directory.rglob(".*"))
