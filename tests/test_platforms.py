"""What is promised of Python, of the system and of its C library is what CI runs and what the wheels need."""

import re
import subprocess
import tomllib
from importlib import metadata

import yaml
from pages import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PYTHONS = ["3.11", "3.12", "3.13"]
OLDEST_GLIBC = 28
"""2.28."""
LEGACY = {"manylinux1": 5, "manylinux2010": 12, "manylinux2014": 17}


def test_the_pythons_that_are_promised_are_those_of_ci() -> None:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
    matrix = workflow["jobs"]["ci"]["strategy"]["matrix"]
    tested = matrix["python"] + [entry["python"] for entry in matrix["include"]]
    classifiers = [line.removeprefix("Programming Language :: Python :: ") for line in PROJECT["classifiers"][1:]]
    assert PYTHONS == tested == classifiers
    assert PROJECT["requires-python"] == ">=3.11,<3.14"
    assert "Operating System :: POSIX :: Linux" in PROJECT["classifiers"]
    assert "with Python 3.11, 3.12 or 3.13, nothing else installed" in (ROOT / "README.md").read_text()


def test_launch_takes_no_other_python(tmp_path) -> None:
    launch = (ROOT / "launch.sh").read_text()
    (condition,) = re.findall(r"sys\.exit\(not (.+)\)'", launch)
    accepted = [
        f"3.{minor}"
        for minor in range(8, 20)
        if eval(condition, {"sys": type("", (), {"version_info": (3, minor, 1)})})
    ]
    assert accepted == PYTHONS
    (names,) = re.findall(r"for name in (python3.+ python); do", launch)
    assert names.split() == [*(f"python{version}" for version in reversed(PYTHONS)), "python3", "python"]
    uname = tmp_path / "uname"
    uname.write_text("#!/bin/sh\necho Darwin\n")
    uname.chmod(0o755)
    copy = tmp_path / "launch.sh"
    copy.write_text(launch)
    (tmp_path / "docker").mkdir()
    for name in ("pyproject.toml", "docker/weights.txt"):
        (tmp_path / name).touch()
    done = subprocess.run(
        ["bash", copy, "setup"], env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "launch.sh: found Darwin; expected Linux; use a container or a virtual machine\n"


def test_no_wheel_needs_a_newer_c_library_than_the_pages_say() -> None:
    needed = {}
    for distribution in metadata.distributions():
        platforms = [
            platform
            for tag in re.findall(r"^Tag: \S+-(\S+)$", distribution.read_text("WHEEL") or "", re.MULTILINE)
            for platform in tag.split(".")
        ]
        # The wheel serves the oldest of its platforms.
        versions = [0 if platform == "any" else glibc(platform) for platform in platforms if "musl" not in platform]
        needed[distribution.name] = min(versions, default=0)
    assert needed["torch"] == OLDEST_GLIBC
    # pip installs their other wheels where the C library is older, that of TensorBoard without an executable.
    for name in ("tensorboard-data-server", "cryptography"):
        needed.pop(name, None)
    assert {name: version for name, version in needed.items() if version > OLDEST_GLIBC} == {}
    assert f"manylinux_2_{OLDEST_GLIBC}" in (ROOT / "docker" / "uv.toml").read_text()
    assert f"On Linux (glibc 2.{OLDEST_GLIBC} or newer)" in (ROOT / "README.md").read_text()


def glibc(platform: str) -> int:
    """Return the minor version of the C library that a platform needs; those built on this machine need its own."""
    found = re.match(r"manylinux_2_([0-9]+)_", platform)
    return int(found[1]) if found else LEGACY.get(platform.partition("_")[0], 0)
