"""The pages: links and paths that exist, flags that commands have, commands and code blocks that run."""

import ast
import contextlib
import importlib
import importlib.util
import io
import os
import pkgutil
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import yaml

import pneumo
from pneumo.dataset.table import SampleTable
from pneumo.runtime import cli
from pneumo.synthetic.dicom_tree import SyntheticTree

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted(
    path
    for pattern in ("*.md", "job/*.md", "docker/*.md", "slurm/*.md", "k8s/*.md", "pneumo/**/*.md")
    for path in ROOT.glob(pattern)
)
CHANGELOG = ROOT / "CHANGELOG.md"
"""Names what is gone, too."""
NAMES = [str(path.relative_to(ROOT)) for path in PAGES]
SMALL = "--recipe debug --epochs 1 --image-size 32 --model.encoder-weights none"
"""Added to a page's training commands, which would take days: what comes last on a command line counts."""


def blocks(page: Path | str, language: str) -> list[tuple[int, str]]:
    """Return the code blocks of a page's language, or of a part of it, each with the number of its first line."""
    text = page if isinstance(page, str) else page.read_text()
    found = re.finditer(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [(text[: match.start(1)].count("\n") + 1, match[1]) for match in found]


def commands(path: Path) -> list[str]:
    """Return the command lines of a page, without comments, one line each."""
    text = "\n".join(block for _, block in blocks(path, "bash")).replace("\\\n", " ")
    lines = (re.sub(r"(^|\s)#.*", "", line).strip() for line in text.splitlines())
    return [" ".join(line.split()) for line in lines if line]


def all_commands() -> list[tuple[str, str]]:
    inline = r"`([^`\n]*(?:job/\w+\.py|launch\.sh)[^`\n]*)`"
    return [
        (str(path.relative_to(ROOT)), line)
        for path in PAGES
        if path != CHANGELOG
        for line in (*commands(path), *re.findall(inline, path.read_text()))
    ]


@pytest.mark.parametrize("path", PAGES, ids=NAMES)
def test_links_lead_to_files(path: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", path.read_text()):
        if not re.match(r"https?://|#", link):
            assert (path.parent / link.partition("#")[0]).exists(), link


@pytest.mark.parametrize("path", PAGES, ids=NAMES)
def test_files_that_are_named_exist(path: Path) -> None:
    text = re.sub(r"^```(python|diff)\n.*?^```$", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)
    text = text if path != CHANGELOG else ""
    for name in re.findall(r"`((?:pneumo|job|tests|docker|slurm|k8s|\.github|\.ci)/[\w./-]+)`", text):
        assert (ROOT / name).exists() or name == "docker/.env", name
    for name in re.findall(r"tests/[\w/]+\.py", text):
        assert (ROOT / name).exists(), name


# -- commands ---------------------------------------------------------------------------------------------------------


def command_module(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"page_{name}", ROOT / "job" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def flags_of(name: str) -> set[str]:
    """Return the flags of a command in job/, from its help."""
    module, text = command_module(name), io.StringIO()
    with contextlib.redirect_stdout(text), contextlib.suppress(SystemExit):
        if name == "train":
            module.parse(["--help"])
        else:
            arguments = module.LaunchPlan if name == "launch" else module.Arguments
            cli.parse(arguments, ["--help"], prog=name, description="")
    return set(re.findall(r"--[a-z][\w.-]*", text.getvalue()))


@pytest.fixture(scope="module")
def flags(monkeypatch_module: pytest.MonkeyPatch) -> dict[str, set[str]]:
    monkeypatch_module.setenv("COLUMNS", "240")
    return {path.stem: flags_of(path.stem) for path in sorted((ROOT / "job").glob("*.py"))}


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


def test_the_commands_of_the_readme_run(synthetic: SyntheticTree, dataset: Path, tmp_path: Path) -> None:
    """On synthetic files under the names that the page gives to a user's, from shards to blended runs."""
    for name in ("job", "pneumo"):
        (tmp_path / name).symlink_to(ROOT / name)
    data = tmp_path / "data"
    data.mkdir()
    (data / "dicom-images-train").symlink_to(synthetic.dicom)
    (data / "dicom-images-test").symlink_to(synthetic.test_dicom)
    (data / "incoming").symlink_to(synthetic.test_dicom)
    (data / "train-rle.csv").symlink_to(synthetic.masks)
    (data / "patients.csv").symlink_to(synthetic.patients)
    table = SampleTable.read(dataset)
    ids = table.image_id[table.select("test")].tolist()
    (data / "sample_submission.csv").write_text("\n".join(["ImageId,EncodedPixels", *(f"{i},-1" for i in ids)]))
    ran = []
    for line in commands(ROOT / "README.md"):
        if "job/" not in line:
            continue
        if "runs/a" in line:
            for name in ("a", "b"):
                shutil.copytree(tmp_path / "runs" / "best", tmp_path / "runs" / name)
        words = line.replace("accelerate launch", "accelerate launch --num_processes 1 --num_machines 1")
        if "job/train.py" in line:
            words += f" {SMALL}" + (" --folds 0" if ran.count("train") else "")
        done = subprocess.run(
            ["bash", "-euc", words],
            cwd=tmp_path,
            env=os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)},
            capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
        ran += re.findall(r"job/(\w+)\.py", line)
    assert ran == ["shard", "verify", "train", "score", "predict", "ensemble", "train"]
    for name in ("runs/best/submission.csv", "runs/blend.csv"):
        lines = (tmp_path / name).read_text().splitlines()[1:]
        assert [line.partition(",")[0] for line in lines] == ids
    assert (tmp_path / "runs" / "predictions" / "predictions.csv").is_file()


# -- code -------------------------------------------------------------------------------------------------------------


def apply(diff: str, root: Path) -> str:
    """Apply a diff without line numbers: what is added comes after the line above it. Return the changed file."""
    header, *lines = diff.splitlines()
    path = root / header.removeprefix("--- ")
    content = path.read_text().splitlines()
    place = 0
    for line in lines:
        if line[0] == "+":
            content.insert(place, line[1:])
            place += 1
            continue
        assert content.count(line[1:]) == 1, f"{path.name}: {line}"
        place = content.index(line[1:])
        if line[0] == "-":
            del content[place]
        else:
            place += 1
    path.write_text("\n".join(content) + "\n")
    return header.removeprefix("--- ")


REGISTRY_TESTS = (
    "tests/modeling/losses/test_loss.py",
    "tests/loading/augmentation/test_augmentation_registry.py",
    "tests/loading/augmentation/test_augmentation_parameters.py",
    "tests/dicom/encodings/test_encoding_registry.py",
    "tests/reporting/outputs/test_output_registry.py",
)
"""Tests of the registries, which must hold with an entry more, too."""


def code_lines(module: str) -> set[int]:
    """Return the numbers of a module's lines without imports, docstrings, comments and blank lines."""
    tree, lines = ast.parse(module), set()
    for node in ast.walk(tree):
        is_docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if isinstance(node, ast.stmt) and not is_docstring and not isinstance(node, ast.Import | ast.ImportFrom):
            end = node.body[0].lineno - 1 if hasattr(node, "body") else node.end_lineno
            first = min((decorator.lineno for decorator in getattr(node, "decorator_list", ())), default=node.lineno)
            lines |= set(range(first, max(first, end) + 1))
    return {number for number in lines if module.splitlines()[number - 1].strip()}


def test_the_extensions_of_the_contributing_page_run(tmp_path: Path) -> None:
    """All five at once, in a copy of the package: modules written, registries changed, tests copied and run."""
    page = ROOT / "CONTRIBUTING.md"
    sections = page.read_text().partition("## Adding something")[2].split("\n### ")[1:]
    assert len(sections) == 5
    for folder in ("pneumo", "tests"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    changed, tests = [], []
    for section in sections:
        name = section.partition("\n")[0]
        ((_, module),), ((_, diff),), ((_, command),) = (blocks(section, kind) for kind in ("python", "diff", "bash"))
        path = module.partition("\n")[0].removeprefix("# ")
        assert not (ROOT / path).exists(), "an example is an addition"
        (tmp_path / path).write_text(module)
        changed += [path, apply(diff, tmp_path)]
        assert len(code_lines(module)) + len(re.findall(r"^\+", diff, re.MULTILINE)) <= 10, f"{name} is long"
        copy, run = command.strip().split(" && ")
        subprocess.run(["bash", "-euc", copy], cwd=tmp_path, check=True)
        tests.append(run.removeprefix("./launch.sh test "))
        assert (ROOT / "tests/extensions" / Path(tests[-1]).relative_to("tests")).is_file()
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider", *tests, *REGISTRY_TESTS],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    for name in tests:
        assert re.search(rf"^{re.escape(name)}::test_\w+(\[.*\])? PASSED", done.stdout, re.MULTILINE), done.stdout
    ruff = shutil.which("ruff", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if ruff is not None:
        words = [ruff, "check", "--config", ROOT / "pyproject.toml", *changed]
        linted = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert linted.returncode == 0, linted.stdout


def test_the_map_names_every_package_and_only_what_exists() -> None:
    path = ROOT / "pneumo" / "README.md"
    packages = {module.name for module in pkgutil.iter_modules(pneumo.__path__) if module.ispkg}
    assert set(re.findall(r"^\| `(\w+)/` \|", path.read_text(), re.MULTILINE)) == packages
    chains = re.findall(
        r"^ *([a-z_]+(?:\.[A-Za-z_]\w*)+)", "\n".join(code for _, code in blocks(path, "text")), re.MULTILINE
    )
    assert len(chains) > 20
    for name in chains:
        assert resolve(f"pneumo.{name}") is not None, name


def test_what_the_readme_leads_to_is_there() -> None:
    text = (ROOT / "README.md").read_text().partition("## Find your way")[2].partition("\n## ")[0]
    places = re.findall(r"`(\w+)` in `([\w/]+)\.py`", text)
    assert len(places) > 4
    for name, path in places:
        assert resolve(f"{path.replace('/', '.')}.{name}") is not None, name


def resolve(name: str) -> object:
    """Import the longest prefix that is a module, and take the rest as attributes."""
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        with contextlib.suppress(ModuleNotFoundError):
            found: object = importlib.import_module(".".join(parts[:end]))
            for attribute in parts[end:]:
                found = getattr(found, attribute)
            return found
    raise AssertionError(name)


# -- GitHub and the citation ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "schema"),
    [
        (".github/workflows/ci.yml", "vendor.github-workflows"),
        (".github/workflows/ci.yml", "custom.github-workflows-require-timeout"),
        (".github/ISSUE_TEMPLATE/bug.yml", "vendor.github-issue-forms"),
        (".github/ISSUE_TEMPLATE/question.yml", "vendor.github-issue-forms"),
        (".github/ISSUE_TEMPLATE/config.yml", "vendor.github-issue-config"),
        ("CITATION.cff", "vendor.citation-file-format"),
    ],
)
def test_the_schema_takes_it(path: str, schema: str) -> None:
    pytest.importorskip("check_jsonschema", reason="needs check-jsonschema, of the extra check")
    words = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, str(ROOT / path)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_workflow_runs_all_parts_of_ci_that_need_no_root() -> None:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
    job = workflow["jobs"]["ci"]
    (parts,) = re.findall(r"^all=\((.+)\)$", (ROOT / ".ci" / "run").read_text(), re.MULTILINE)
    matrix = job["strategy"]["matrix"]
    assert matrix["part"] == [part for part in parts.split() if part not in ("slurm", "k8s")]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert f">={matrix['python'][0]}" == project["requires-python"]
    assert {entry["part"] for entry in matrix["include"]} <= set(matrix["part"])
    actions = [step["uses"] for step in job["steps"] if "uses" in step]
    assert len(actions) == 2
    assert all(re.fullmatch(r"actions/[\w-]+@[0-9a-f]{40}", action) for action in actions)


def test_the_citation_has_the_version_and_license_of_the_project() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert (citation["version"], citation["license"]) == (project["version"], project["license"])


def test_the_changelog_keeps_its_form() -> None:
    """As keepachangelog.com describes it."""
    text = CHANGELOG.read_text()
    versions = re.findall(r"^## \[(\d+\.\d+\.\d+)\] - (unreleased|\d{4}-\d{2}-\d{2})$", text, re.MULTILINE)
    assert len(versions) == text.count("\n## ") >= 2
    assert versions == sorted(versions, key=lambda v: tuple(map(int, v[0].split("."))), reverse=True)
    assert set(re.findall(r"^### (.+)$", text, re.MULTILINE)) <= {
        *("Added", "Changed", "Deprecated", "Removed", "Fixed", "Security")
    }
