"""What a command refuses at its start: flags of version 0.1, and wrong variables of a launcher."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from command_driver import call
from job_commands import JOB


def test_every_flag_that_the_changelog_renames_is_refused_with_its_new_name(
    load_command: Callable[[str], ModuleType],
) -> None:
    rows = re.findall(
        r"^  \| `job/(\w+)\.py (--\S+)[^|]*` \| `(.+)` \|$", (JOB.parent / "CHANGELOG.md").read_text(), re.MULTILINE
    )
    listed = {(command, old): new.replace(" N", "").replace(" DATASET", "") for command, old, new in rows}
    known = {
        (path.stem, old): new
        for path in JOB.glob("*.py")
        for old, new in getattr(load_command(path.stem), "RENAMED_FLAGS", {}).items()
    }
    assert len(known) > 10
    assert known == listed
    for command, word, new in [
        ("bench", "--evidences=3", "--histograms"),
        ("ensemble", "--shares", "--weights"),
        ("shard", "--folds", "--num-folds"),
        ("train", "--model.empty_head", "--model.presence-head"),
    ]:
        code, _, errors = call(command, [word])
        assert code == 2
        assert f"; expected {new}, which replaced it in version 0.2.0; correct the command" in errors


@pytest.mark.parametrize("command", ["train", "ensemble", "predict"])
@pytest.mark.parametrize(
    ("variables", "text"),
    [
        ({"WORLD_SIZE": ""}, "WORLD_SIZE is '', which is not an integer from 1 to"),
        (
            {"WORLD_SIZE": "2", "RANK": "x", "LOCAL_RANK": "0"},
            "WORLD_SIZE is 2, but MASTER_ADDR, MASTER_PORT are not set",
        ),
        ({"WORLD_SIZE": "1", "RANK": "x"}, "RANK is 'x', which is not an integer from 0 to 0"),
        ({"WORLD_SIZE": "1", "LOCAL_RANK": ""}, "LOCAL_RANK is '', which is not"),
        ({"RANK": "0"}, "WORLD_SIZE is not set, but other variables of a launcher are"),
        (
            {"WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0", "MASTER_ADDR": "here", "MASTER_PORT": "x"},
            "MASTER_PORT is 'x', which is not an integer from 1 to 65535",
        ),
        ({"ACCELERATE_USE_CPU": "x"}, "accelerate refuses its settings: "),
        ({"PNEUMO_LAUNCHER_PID": "x"}, "PNEUMO_LAUNCHER_PID is 'x'"),
        ({"SLURM_STEP_NUM_TASKS": "x"}, "a Slurm step of x tasks without the rank of this one"),
    ],
    ids=lambda value: " ".join(map("=".join, value.items())) if isinstance(value, dict) else "",
)
def test_wrong_variables_of_a_launcher_are_one_line(
    command: str, variables: dict[str, str], text: str, alone: Path, dataset: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    words = {
        "train": ["--dataset", dataset, "--run", tmp_path / "run"],
        "ensemble": ["--dataset", dataset, "--runs", alone, "--out", tmp_path / "s.csv"],
        "predict": ["--run", alone, "--dicom", dataset, "--out", tmp_path / "out"],
    }[command]
    code, _, errors = call(command, [*map(str, words)])
    assert code == 2, errors
    (line,) = (written for written in errors.splitlines() if " INFO reading " not in written)
    assert text in line
    assert list(tmp_path.iterdir()) == []


def test_a_prediction_imports_no_compiler_no_launcher_and_no_tensorboard() -> None:
    """Each takes as long as a tenth to a half of torch, and has no part in it."""
    program = (
        "import sys\n"
        "from pneumo.distributed.startup import init\n"
        "from pneumo.training.new_images import predict\n"
        "init(expect_world=1)\n"
        "print(sorted({'torch._dynamo', 'accelerate', 'tensorboard', 'scipy.special', 'sklearn'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
