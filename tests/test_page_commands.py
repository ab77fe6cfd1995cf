"""The commands of the pages: their flags exist, and a test runs each, or page_commands.toml has the reason why not."""

import ast
import contextlib
import io
import re
import shlex
import shutil
import socket
import sys
import tomllib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

import page_checkout
import pytest
from pages import CHANGELOG, ROOT, all_blocks, all_commands

from pneumo.dataset.table import SampleTable
from pneumo.runtime import cli
from pneumo.synthetic.tree import SyntheticTree

PLACES: dict[str, dict[str, str]] = tomllib.loads((ROOT / "tests" / "page_commands.toml").read_text())


def place(page: str, command: str) -> str:
    """Return where a command is run, or why it is not."""
    places = [where for pattern, where in PLACES.get(page, {}).items() if re.fullmatch(pattern, command)]
    assert len(places) == 1, f"{page}: {command}: {len(places)} entries of tests/page_commands.toml; expected 1"
    return places[0]


def commands_of(test: str) -> list[str]:
    """Return the commands that a test of this file runs, each once."""
    name = f"tests/{Path(__file__).name}::{test}"
    return list(dict.fromkeys(command for page, command in all_commands() if place(page, command) == name))


@pytest.mark.parametrize("page", sorted({page for page, _ in all_commands()} | PLACES.keys() - {"blocks"}))
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

BLOCKS = dict(all_blocks())
FIRST = next(name for name, block in BLOCKS.items() if name.startswith("README.md") and "job/shard.py" in block)
"""The block from DICOMs to a submission, whose results the others work on."""


@pytest.fixture(scope="module")
def first(synthetic: SyntheticTree, dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkout after the README's first block on real data; read only."""
    root = tmp_path_factory.mktemp("pages") / "checkout"
    root.mkdir()
    page_checkout.make(root, synthetic, submission_ids(dataset))
    run_block(FIRST, root)
    return root


@pytest.fixture(scope="module")
def finished(first: Path, dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of it, with the other names that pages give to datasets, runs and submissions; read only.

    Those in capitals are of a dataset of two folds, which are trained and exported sooner than five.
    """
    root = tmp_path_factory.mktemp("names") / "checkout"
    shutil.copytree(first, root, symlinks=True)
    for name in ("a", "b"):
        shutil.copytree(root / "runs" / "best", root / "runs" / name)
    shutil.copytree(dataset, root / "DATASET")
    train = "python job/train.py --dataset DATASET --run runs/NAME\n"
    done = page_checkout.run(train, root)
    assert done.returncode == 0, done.stdout + done.stderr
    for name in ("A", "B"):
        shutil.copytree(root / "runs" / "NAME", root / "runs" / name)
    # Runs that are compared differ.
    recipe = root / "runs" / "B" / "recipe.json"
    recipe.write_text(recipe.read_text().replace('"seed": 0', '"seed": 1'))
    shutil.copy(root / "runs" / "best" / "oof.csv", root / "submission.csv")
    return root


@pytest.fixture
def checkout(finished: Path, tmp_path: Path) -> Path:
    root = tmp_path / "checkout"
    shutil.copytree(finished, root, symlinks=True)
    return root


def submission_ids(dataset: Path) -> list[str]:
    table = SampleTable.read(dataset)
    return table.image_id[table.select("test")].tolist()


def run_block(name: str, root: Path) -> list[str]:
    """Run a block word for word; return what it asked of the stand-ins."""
    page_checkout.finish_installation(root)
    page_checkout.remove_outputs(root, BLOCKS[name])
    done = page_checkout.run(BLOCKS[name], root)
    assert done.returncode == 0, f"{BLOCKS[name]}\n{done.stdout}{done.stderr}"
    for path in page_checkout.written(BLOCKS[name]):
        assert (root / path).exists(), path
    calls = root / "calls"
    return calls.read_text().splitlines() if calls.exists() else []


def kind(name: str) -> str:
    """Return "slow", why a block cannot be run here, or nothing."""
    reasons = [why for pattern, why in PLACES["blocks"].items() if re.fullmatch(pattern, BLOCKS[name].splitlines()[0])]
    assert len(reasons) <= 1, name
    return reasons[0] if reasons else "slow" if re.match("job/|RESULTS", name) else ""


RUN = [pytest.param(name, marks=[pytest.mark.slow] if kind(name) == "slow" else []) for name in BLOCKS
       if kind(name) in ("", "slow") and name != FIRST]  # fmt: skip


@pytest.mark.parametrize("name", RUN)
def test_a_block_runs_word_for_word(name: str, checkout: Path) -> None:
    if name.startswith("k8s/") and not Path(sys.executable).with_name("kubectl").exists():
        pytest.skip("needs kubectl, of the extra test")
    calls = run_block(name, checkout)
    # A line of another program is asked of its stand-in, once.
    asked = [line for line in commands_in(BLOCKS[name]) if line.split()[0] in {"kubectl", "kind", "squeue", "tail"}]
    for line in asked:
        assert any(call.split()[:2] == line.split()[:2] for call in calls), line


def commands_in(block: str) -> list[str]:
    return [line for line in block.replace("\\\n", " ").splitlines() if line.strip()]


def test_the_first_block_of_the_readme_writes_a_submission(first: Path, dataset: Path) -> None:
    lines = (first / "runs" / "best" / "submission.csv").read_text().splitlines()[1:]
    assert [line.partition(",")[0] for line in lines] == submission_ids(dataset)


def test_every_block_that_is_not_run_has_a_reason() -> None:
    for pattern, reason in PLACES["blocks"].items():
        assert reason.startswith("needs "), pattern
        assert any(re.fullmatch(pattern, block.splitlines()[0]) for block in BLOCKS.values()), pattern
    # What bash would take for success, though nothing of it is right.
    assert len(RUN) > 35


@pytest.mark.parametrize("line", ["get jobs,pods --watch", "get pods --wach", "delete job folds --cascade=forground"])
def test_kubectl_refuses_what_it_does_not_know(line: str, tmp_path: Path) -> None:
    page_checkout.add_programs(tmp_path)
    done = page_checkout.run(f"kubectl {line}\n", tmp_path)
    assert done.returncode == 1, done.stderr


def on_this_machine(line: str, port: int) -> list[str]:
    """Return the command with two processes: on one machine, or one on each of two, which are both this one."""
    line = line.replace("node1", "127.0.0.1").replace("29500", str(port))
    line = line.replace("job/train.py ...", "job/train.py --dataset data/siim --run runs/best")
    line = re.sub(r"(--num_processes|--nproc_per_node|--expect-world) \d+", r"\1 2", line)
    several = "--nodes 2" in line or "--num_machines 2" in line
    line = re.sub(r"(--processes) \d+", rf"\1 {1 if several else 2}", line)
    return [re.sub(r"(--node-rank|--machine_rank) \w+", rf"\1 {rank}", line) for rank in range(1 + several)]


@pytest.mark.slow
def test_the_launchers_of_two_machines_run(checkout: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    lines_of = commands_of("test_the_launchers_of_two_machines_run")
    machines = dict.fromkeys(tuple(on_this_machine(line, port)) for line in lines_of)
    assert len(machines) > 2
    for lines in machines:
        with ThreadPoolExecutor() as pool:
            for line, done in zip(lines, pool.map(lambda line: page_checkout.run(line, checkout), lines), strict=True):
                assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
