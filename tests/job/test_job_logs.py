"""Commands that only read a dataset or a run keep their logs there, where they may."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from command_driver import call

COMMANDS = {
    "explore": ["--dataset", "DATASET", "--out", "OUT/explore.html", "--pictures", "0"],
    "verify": ["--dataset", "DATASET"],
    "export": ["--run", "RUN", "--out", "OUT/model", "--no-onnx"],
}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_start_is_in_a_log_unless_the_directory_is_read_only(
    command: str, alone: Path, dataset: Path, tmp_path: Path, read_only: Callable[[Path], None]
) -> None:
    place = Path(
        shutil.copytree(
            alone if command == "export" else dataset, tmp_path / "place", ignore=shutil.ignore_patterns("logs")
        )
    )
    for number, out in enumerate((tmp_path / "a", tmp_path / "b")):
        out.mkdir()
        words = {"DATASET": str(place), "RUN": str(place)}
        code, printed, errors = call(
            command, [words.get(word, word.replace("OUT/", f"{out}/")) for word in COMMANDS[command]]
        )
        assert code in (0, None), errors
        (path,) = (place / "logs").iterdir()
        assert path.name.startswith(f"{command}-")
        assert ("no log is kept" in errors) is False
        text = path.read_text()
        assert f"job/{command}.py --" in text
        if command == "verify":
            assert printed.splitlines()[-1] in text
        if number == 0:
            read_only(place)
