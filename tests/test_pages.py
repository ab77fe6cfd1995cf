"""The pages: links, paths and names that exist, and the extensions of CONTRIBUTING.md, which run."""

import ast
import contextlib
import importlib
import os
import pkgutil
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from pages import CHANGELOG, PAGES, ROOT, blocks
from waiting import LONG_S

import pneumo

NAMES = [str(path.relative_to(ROOT)) for path in PAGES]


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
        places = (ROOT / name, ROOT / name.replace("tests/", "tests/extensions/"))
        assert any(place.exists() for place in places), name


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


@pytest.mark.slow
def test_the_extensions_of_the_contributing_page_run(tmp_path: Path) -> None:
    """All five at once, in a copy of the package: modules written, registries changed, tests copied and run."""
    page = ROOT / "CONTRIBUTING.md"
    sections = page.read_text().partition("## Adding something")[2].split("\n### ")[1:]
    assert len(sections) == 5
    for directory in ("pneumo", "tests"):
        shutil.copytree(ROOT / directory, tmp_path / directory, ignore=shutil.ignore_patterns("__pycache__"))
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
        capture_output=True, text=True, timeout=LONG_S, check=False,
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
    places = re.findall(r"`(\w+)` in \[([\w/]+)\.py\]\(\2\.py\)", text)
    assert len(places) == 7
    for name, path in places:
        assert resolve(f"{path.replace('/', '.')}.{name}") is not None, name


def test_the_speeds_of_the_readme_are_those_of_the_benchmark_page() -> None:
    speed = re.compile(r"\b([\d.]+) (ms|s|im(?:a)?g(?:es)?/s)\b")
    measured = [
        (float(number), unit.replace("img", "images"))
        for number, unit in speed.findall((ROOT / "pneumo" / "bench" / "README.md").read_text())
    ]
    table = (ROOT / "README.md").read_text().partition("## What has been measured")[2].partition("\n\nDice")[0]
    shown = speed.findall(table)
    assert len(shown) == 12
    for number, unit in shown:
        digits = len(number.partition(".")[2])
        half = 0.5 / 10**digits + 1e-9
        assert any(abs(value - float(number)) <= half for value, of in measured if of == unit), (number, unit)


def test_the_readme_promises_no_more_than_the_results_show() -> None:
    table = (ROOT / "README.md").read_text().partition("## What has been measured")[2].partition("\n\nDice")[0]
    rows = [row for row in table.splitlines() if "Dice" in row]
    assert len(rows) == 3
    shown = re.findall(r"0\.\d{3,4}", "\n".join(rows))
    assert len(shown) > 8
    results = (ROOT / "RESULTS.md").read_text()
    for number in shown:
        assert number in results, number


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
def test_it_matches_its_schema(path: str, schema: str) -> None:
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
