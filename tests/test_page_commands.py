"""The commands of the pages: their flags exist, and a test runs each, or page_commands.toml has the reason why not."""

import ast
import contextlib
import io
import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

import pytest
from pages import CHANGELOG, ROOT, all_commands

from pneumo.dataset.table import SampleTable
from pneumo.runtime import cli
from pneumo.synthetic.dicom_tree import SyntheticTree

PLACES = tomllib.loads((ROOT / "tests" / "page_commands.toml").read_text())
SMALL = "--recipe debug --epochs 1 --image-size 32 --model.encoder-weights none --model.encoder tu-test_efficientnet"
"""Added to a page's training commands, which would take days: what comes last on a command line counts."""


def place(page: str, command: str) -> str:
    """Return where a command is run, or why it is not."""
    places = [where for pattern, where in PLACES.get(page, {}).items() if re.fullmatch(pattern, command)]
    assert len(places) == 1, f"{page}: {command}: {len(places)} entries of tests/page_commands.toml; expected 1"
    return places[0]


def commands_of(test: str) -> list[str]:
    """Return the commands that a test of this file runs, each once."""
    name = f"tests/{Path(__file__).name}::{test}"
    return list(dict.fromkeys(command for page, command in all_commands() if place(page, command) == name))


@pytest.mark.parametrize("page", sorted({page for page, _ in all_commands()} | PLACES.keys()))
def test_every_command_is_run_somewhere_or_has_a_reason(page: str) -> None:
    commands = [command for name, command in all_commands() if name == page]
    places = {command: place(page, command) for command in commands}
    for pattern in PLACES[page]:
        assert any(re.fullmatch(pattern, command) for command in commands), f"{page} has no {pattern}"
    for command, where in places.items():
        path, _, test = where.partition("::")
        if test and path != f"tests/{Path(__file__).name}":
            directory = (ROOT / path).parent
            sources = [(ROOT / path).read_text()]
            assert test in {getattr(node, "name", "") for node in ast.parse(sources[0]).body}, where
            # What is run is named by the test's module or its directory's helpers.
            sources += [file.read_text() for file in directory.glob("*.py") if not file.name.startswith("test_")]
            for script in scripts(command):
                assert any(script in source for source in sources), f"{where} does not run {script}"
        elif path.startswith(".ci/run "):
            part = path.removeprefix(".ci/run ")
            assert re.search(rf"^(all=\(.*\b{part}\b.*\)|run \./launch\.sh {part})$", CI, re.MULTILINE), where


CI = (ROOT / ".ci" / "run").read_text()


def scripts(command: str) -> list[str]:
    """Return the names of the scripts in a command, or the program's when there is none."""
    found = re.findall(r"(?:(?<=[ /])|^)((?!test_)[\w-]+\.(?:py|sh)|Dockerfile)\b", command)
    return found or [Path(shlex.split(command)[0]).name]


# -- flags ------------------------------------------------------------------------------------------------------------


def flags_of(name: str, module: ModuleType) -> set[str]:
    """Return the flags of a command in job/, from its help."""
    text = io.StringIO()
    with contextlib.redirect_stdout(text), contextlib.suppress(SystemExit):
        if name == "train":
            module.parse(["--help"])
        else:
            arguments = module.Arguments
            cli.parse(arguments, ["--help"], prog=name, description="")
    return set(re.findall(r"--[a-z][\w.-]*", text.getvalue()))


@pytest.fixture(scope="module")
def flags(monkeypatch_module: pytest.MonkeyPatch, load_command: Callable[[str], ModuleType]) -> dict[str, set[str]]:
    monkeypatch_module.setenv("COLUMNS", "240")
    names = sorted(path.stem for path in (ROOT / "job").glob("*.py"))
    return {name: flags_of(name, load_command(name)) for name in names}


@pytest.fixture(scope="module")
def monkeypatch_module() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patch:
        yield patch


def test_every_flag_on_a_page_is_one_of_its_command(flags: dict[str, set[str]]) -> None:
    checked = 0
    for page, line in all_commands():
        # The words after a script belong to it, until the next script or the end of the command.
        for name, words in re.findall(r"(?<![\w/])job/(\w+)\.py((?:(?!\bjob/\w+\.py|[|;>]|&&).)*)", line):
            assert name in flags, f"{page}: {line}"
            for flag in re.findall(r"(?<=\s)--[a-z][\w.-]*", words):
                assert flag in flags[name] | {"--help", "--version"}, f"{page}: {line}: {flag}"
                checked += 1
    assert checked > 80
    renamed = re.findall(
        r"^  \| `job/(\w+)\.py --\S+.*` \| `(?:job/(\w+)\.py )?(--\S+).*` \|$", CHANGELOG.read_text(), re.MULTILINE
    )
    assert len(renamed) > 4
    for old, new, flag in renamed:
        assert flag in flags[new or old], flag


def test_launch_sh_has_the_commands_and_markers_of_the_pages() -> None:
    launch = (ROOT / "launch.sh").read_text()
    markers = {
        line.partition(":")[0]
        for line in tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]["markers"]
    }
    used = [(page, *re.findall(r"launch\.sh (\w+)(?: -m (\w+))?", line)) for page, line in all_commands()]
    used = [(page, *pair) for page, *pairs in used for pair in pairs]
    assert len(used) > 5
    for page, command, marker in used:
        assert f"\n    {command})\n" in launch, f"{page}: ./launch.sh {command}"
        assert marker in {"", *markers}, f"{page}: -m {marker}"


# -- runs -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tree(synthetic: SyntheticTree, dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout with synthetic files under the names that the pages give to a user's."""
    root = tmp_path_factory.mktemp("pages")
    for name in ("job", "pneumo", "slurm"):
        (root / name).symlink_to(ROOT / name)
    data = root / "data"
    data.mkdir()
    for directory in (root, data):
        for name in ("dicom-images-train", "train"):
            (directory / name).symlink_to(synthetic.dicom)
        for name in ("dicom-images-test", "test", "incoming", "FILE_OR_DIR"):
            (directory / name).symlink_to(synthetic.test_dicom)
        (directory / "train-rle.csv").symlink_to(synthetic.masks)
        (directory / "patients.csv").symlink_to(synthetic.patients)
    ids = submission_ids(dataset)
    (data / "sample_submission.csv").write_text("\n".join(["ImageId,EncodedPixels", *(f"{i},-1" for i in ids)]))
    return root


def submission_ids(dataset: Path) -> list[str]:
    table = SampleTable.read(dataset)
    return table.image_id[table.select("test")].tolist()


def shell(command: str, tree: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return subprocess.run(
        ["bash", "-euc", command],
        cwd=tree,
        env=os.environ | {"PATH": path, "PYTHONPATH": str(ROOT)} | environment,
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


def run_together(lines: list[str], tree: Path) -> None:
    """Run commands of job/ one after another in one process, which imports torch once, without their launchers."""
    calls = []
    for line in lines:
        _, script, words = re.fullmatch(r"(python|accelerate launch) job/(\w+)\.py(.*)", line).groups()  # type: ignore[union-attr]
        calls.append((script, shlex.split(words + (f" {SMALL}" if script == "train" else ""))))
    done = subprocess.run(
        [sys.executable, ROOT / "tests" / "job" / "command_driver.py"],
        input=json.dumps(calls),
        cwd=tree,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for line, (code, out, errors) in zip(lines, json.loads(done.stdout), strict=True):
        assert code in (0, None), f"{line}\n{out}{errors}"


@pytest.fixture(scope="module")
def finished(tree: Path) -> Path:
    """The tree after the README's commands, from shards to blended runs."""
    lines = commands_of("test_the_commands_of_the_readme_run")
    assert [name for line in lines for name in re.findall(r"job/(\w+)\.py", line)] == [
        *("shard", "verify", "train", "score", "predict", "ensemble", "train")
    ]
    *before, ensemble, train = lines
    run_together(before, tree)
    # The page blends two runs that it does not train.
    for name in ("a", "b"):
        shutil.copytree(tree / "runs" / "best", tree / "runs" / name)
    run_together([ensemble, f"{train} --folds 0"], tree)
    return tree


def test_the_commands_of_the_readme_run(finished: Path, dataset: Path) -> None:
    for name in ("runs/best/submission.csv", "runs/blend.csv"):
        lines = (finished / name).read_text().splitlines()[1:]
        assert [line.partition(",")[0] for line in lines] == submission_ids(dataset)
    assert (finished / "runs" / "predictions" / "predictions.csv").is_file()


def as_in_docstrings(tree: Path) -> None:
    """Add what the docstrings of job/ call by other names: a dataset, finished runs, a submission."""
    for name in ("A", "B", "NAME"):
        shutil.copytree(tree / "runs" / "best", tree / "runs" / name, dirs_exist_ok=True)
    shutil.copytree(tree / "data" / "siim", tree / "DATASET", dirs_exist_ok=True)
    shutil.copy(tree / "runs" / "best" / "oof.csv", tree / "submission.csv")


@pytest.mark.slow
def test_the_commands_of_job_run(finished: Path, dataset: Path) -> None:
    """One after another in one process, which imports torch once."""
    as_in_docstrings(finished)
    # The masks to score have the place where the ensembler then writes those of the test images.
    lines = sorted(commands_of("test_the_commands_of_job_run"), key=lambda line: "job/ensemble.py" in line)
    run_together(lines, finished)
    assert {Path(line.split()[1]).stem for line in lines} == {
        *("shard", "verify", "train", "score", "predict", "ensemble")
    }
    assert (finished / "runs" / "rest" / "submission.csv").is_file()
    lines = (finished / "submission.csv").read_text().splitlines()[1:]
    assert [line.partition(",")[0] for line in lines] == submission_ids(dataset)


def on_this_machine(line: str, port: int) -> list[str]:
    """Return the command with two processes: on one machine, or one on each of two, which are both this one."""
    line = line.replace("node1", "127.0.0.1").replace("29500", str(port))
    line = line.replace("job/train.py ...", "job/train.py --dataset data/siim --run runs/best")
    line = re.sub(r"(--num_processes|--nproc_per_node|--expect-world) \d+", r"\1 2", line)
    several = "--nodes 2" in line or "--num_machines 2" in line
    line = re.sub(r"(--processes) \d+", rf"\1 {1 if several else 2}", line)
    line += f" {SMALL}" if "job/train.py" in line else ""
    return [re.sub(r"(--node-rank|--machine_rank) \w+", rf"\1 {rank}", line) for rank in range(1 + several)]


@pytest.mark.slow
def test_the_launchers_run(finished: Path) -> None:
    as_in_docstrings(finished)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    machines = dict.fromkeys(tuple(on_this_machine(line, port)) for line in commands_of("test_the_launchers_run"))
    assert len(machines) > 7
    for lines in machines:
        with ThreadPoolExecutor() as pool:
            for line, done in zip(lines, pool.map(lambda line: shell(line, finished), lines), strict=True):
                assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"


def test_the_slurm_page_submits_jobs(finished: Path) -> None:
    """Printed, not submitted, which tests/slurm does."""
    settings, *lines = commands_of("test_the_slurm_page_submits_jobs")
    for line in lines:
        dry = line.replace("submit.sh", "submit.sh --dry-run", 1)
        done = shell(f"{settings}; {dry}", finished, PNEUMO_ROOT=str(finished))
        assert done.returncode == 0, f"{line}\n{done.stderr}"
        submitted = re.findall(r"^sbatch .* slurm/(\w+)\.sh", done.stdout, re.MULTILINE)
        assert submitted == [] if "--help" in line else ["world"] if "--world" in line else ["folds", "ensemble"], line
