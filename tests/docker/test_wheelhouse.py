"""A real wheelhouse, and an installation from it without an index."""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LAUNCH = ROOT / "launch.sh"
PART = 60_000_000
ASKED = ["--part-size", "60M", "--extras", "cuda13", "test"]


def without_network() -> list[str]:
    """Return the prefix that runs a command without any network, nothing where that is not permitted."""
    words = ["unshare", "--net"]
    able = shutil.which("unshare") and not subprocess.run([*words, "true"], capture_output=True, check=False).returncode
    return words if able else []


def make_wheelhouse(*words: object) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PNEUMO_PYTHON": sys.executable}
    command = [str(LAUNCH), "wheelhouse", *map(str, words)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=1800, check=False)


def install(directory: Path, target: Path) -> subprocess.CompletedProcess[str]:
    """Install as on a bare machine: only Python, nothing on PATH, no network."""
    python = os.path.realpath(sys.executable)
    command = [*map(str, filter(None, map(shutil.which, without_network()[:1]))), *without_network()[1:], python]
    return subprocess.run(
        [*command, str(directory / "install.py"), str(target)],
        env={"PATH": "/nonexistent", "HOME": "/nonexistent", "PIP_NO_INDEX": "1"},
        capture_output=True,
        text=True,
        timeout=1800,
        check=False,
    )


def pin(wheel: str) -> str:
    """Return "nvidia-dali-cuda130==2.2.0" of the wheel's file name."""
    name, version, *_ = wheel.split("-")
    return f"{name.lower().replace('_', '-').replace('.', '-')}=={version}"


def wheels_of(directory: Path) -> set[str]:
    """Return the names of the wheels in the parts, read with the system's own tools."""
    command = f"cat {shlex.quote(str(directory))}/part-* | tar --list --file -"
    listed = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True).stdout.splitlines()
    return {name.removeprefix("wheels/") for name in listed if name.startswith("wheels/") and name != "wheels/"}


@pytest.fixture(scope="module")
def wheelhouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A wheelhouse; the command that makes it was killed once, in the middle of the downloads."""
    out = tmp_path_factory.mktemp("wheelhouse") / "house"
    partial = out.with_name("house.partial")
    first = subprocess.Popen(
        [ROOT / "docker" / "wheelhouse.sh", *ASKED, "--out", out],
        env=os.environ | {"PNEUMO_PYTHON": sys.executable},
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    while len(list(partial.glob("wheels/*"))) < 15:
        assert first.poll() is None
        time.sleep(0.1)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    assert not out.exists()
    there = {pin(path.name) for path in partial.glob("wheels/*")}
    (partial / "wheels" / "numpy-1.0-py3-none-any.whl").write_bytes(b"of an earlier resolve")
    done = make_wheelhouse("--out", out, *ASKED)
    assert done.returncode == 0, done.stderr
    downloaded = {line.split()[-1] for line in done.stderr.splitlines()}
    # The one that was being written when the process was killed may be among those that are there.
    assert len(downloaded & there) <= 1
    assert any(name.startswith("torch==") for name in downloaded | there)
    assert not partial.exists()
    yield out
    shutil.rmtree(out)  # gigabytes, which pytest would keep for three runs


@pytest.mark.wheelhouse
def test_parts_are_small_and_all_have_a_checksum(wheelhouse: Path) -> None:
    sizes = [path.stat().st_size for path in sorted(wheelhouse.glob("part-*"))]
    assert set(sizes[:-1]) == {PART}
    assert 0 < sizes[-1] <= PART
    listed = {line.split()[1] for line in (wheelhouse / "SHA256SUMS").read_text().splitlines()}
    assert listed == {path.name for path in wheelhouse.iterdir()} - {"SHA256SUMS"}
    checked = subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=wheelhouse, check=False)
    assert checked.returncode == 0


@pytest.mark.wheelhouse
def test_the_wheels_are_those_of_the_lock(wheelhouse: Path) -> None:
    files = (ROOT / "docker" / name for name in ("constraints.txt", "weights.txt"))
    locked = {line for path in files for line in path.read_text().splitlines()}
    found = {pin(name) for name in wheels_of(wheelhouse)}
    assert found <= locked
    assert {"torch", "pip", "setuptools", "pytest"} <= {name.partition("==")[0] for name in found}
    listed = re.findall(r"^([^ #]+==[^ ]+)", (wheelhouse / "requirements.txt").read_text(), re.MULTILINE)
    assert found == set(listed)


@pytest.mark.wheelhouse
def test_the_same_command_again_keeps_it_and_another_is_refused(wheelhouse: Path) -> None:
    before = {path.name: path.stat().st_mtime_ns for path in wheelhouse.iterdir()}
    again = make_wheelhouse("--out", wheelhouse, *ASKED)
    assert (again.returncode, "exists already" in again.stderr) == (0, True), again.stderr
    other = make_wheelhouse("--out", wheelhouse, "--python", "3.12", *ASKED)
    assert other.returncode == 2
    assert "found a wheelhouse of python" in other.stderr
    assert before == {path.name: path.stat().st_mtime_ns for path in wheelhouse.iterdir()}


@pytest.mark.wheelhouse
def test_damage_is_named_and_nothing_is_installed(wheelhouse: Path, tmp_path: Path) -> None:
    part, lost = wheelhouse / "part-007", wheelhouse / "part-011"
    lost.rename(tmp_path / "lost")
    with part.open("r+b") as file:
        file.seek(1_000_000)
        byte = file.read(1)
        file.seek(1_000_000)
        file.write(bytes([byte[0] ^ 1]))
    try:
        done = install(wheelhouse, tmp_path / "target")
    finally:
        with part.open("r+b") as file:
            file.seek(1_000_000)
            file.write(byte)
        (tmp_path / "lost").rename(lost)
    assert done.returncode == 2
    assert "part-007 is damaged; part-011 is missing" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "target").exists()


@pytest.mark.wheelhouse
def test_a_bare_machine_installs_and_runs(wheelhouse: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    try:
        done = install(wheelhouse, target)
        assert done.returncode == 0, done.stderr
        assert not (target / ".wheelhouse").exists()
        python = target / ".venv" / "bin" / "python"
        code = "import pneumo, torch, torchvision, nvidia.dali, cv2, gdcm; print(pneumo.__file__)"
        commands = (["-c", code], ["job/train.py", "--help"], ["-m", "pytest", "-q", "tests/masks/test_rle.py"])
        for words, expected in zip(commands, (f"{target}/pneumo/__init__.py", "Exit codes", " passed"), strict=True):
            command = [*without_network(), str(python), *words]
            ran = subprocess.run(command, cwd=target, capture_output=True, text=True, timeout=300, check=False)
            assert ran.returncode == 0, ran.stderr
            assert expected in ran.stdout
    finally:
        shutil.rmtree(target, ignore_errors=True)  # gigabytes, which pytest would keep for three runs


@pytest.mark.wheelhouse
def test_another_python_is_refused_before_anything_is_unpacked(wheelhouse: Path, tmp_path: Path) -> None:
    directory = tmp_path / "house"
    shutil.copytree(wheelhouse, directory, ignore=shutil.ignore_patterns("part-*", "SHA256SUMS"))
    manifest = (directory / "manifest.txt").read_text()
    (directory / "manifest.txt").write_text(re.sub(r"^python .*", "python 3.99", manifest))
    (directory / "SHA256SUMS").write_text("")
    done = install(directory, tmp_path / "target")
    assert done.returncode == 2
    assert "expected 3.99" in done.stderr
    assert not (tmp_path / "target").exists()


def compile_requirements(*words: object) -> str:
    uv = shutil.which("uv", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if uv is None:
        pytest.skip("needs uv, of the extra check")
    command = [uv, "pip", "compile", "--config-file", "docker/uv.toml", "pyproject.toml", *map(str, words)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.wheelhouse
def test_another_python_resolves_to_the_locked_versions() -> None:
    """The lock is of one Python, the image's; a wheelhouse may be for another."""
    locked = set((ROOT / "docker" / "constraints.txt").read_text().splitlines())
    words = ("--extra", "cuda13", "--constraint", "docker/constraints.txt", "--no-header")
    found = set(compile_requirements(*words, "--python-version", "3.12").splitlines())
    assert len(found) > 80
    assert found <= locked


@pytest.mark.wheelhouse
def test_the_lock_is_what_resolving_gives(tmp_path: Path) -> None:
    """The command at the head of docker/constraints.txt, which keeps the versions that are there, changes nothing."""
    lock = ROOT / "docker" / "constraints.txt"
    copy = shutil.copy(lock, tmp_path / "constraints.txt")
    (command,) = re.findall(r"^#    uv pip compile (.+)$", lock.read_text(), re.MULTILINE)
    words = command.replace("docker/constraints.txt", str(copy)).split()
    assert words[:3] == ["--config-file", "docker/uv.toml", "pyproject.toml"]
    compile_requirements(*words[3:])
    assert copy.read_text().splitlines()[2:] == lock.read_text().splitlines()[2:]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--python", "3"], "expected a version like 3.12"),
        (["--part-size", "60Q"], "expected bytes, such as 60M"),
        (["--extras", "cuda14"], "expected some of cuda13 cuda12 s3 test check"),
        (["--extra", "test"], "found --extra; expected --out"),
        (["--python"], "found --python without a value"),
    ],
)
def test_wrong_input_is_one_line(tmp_path: Path, words: list[str], message: str) -> None:
    done = make_wheelhouse("--out", tmp_path / "house", *words)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_extras_are_those_of_the_project() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert f"\nextras_known=({' '.join(extras)})\n" in (ROOT / "docker" / "wheelhouse.sh").read_text()


def test_without_uv_it_is_one_line(tmp_path: Path) -> None:
    """Everything but uv is there."""
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("bash", "env", "dirname", "sed", "cut"):
        (tools / name).symlink_to(shutil.which(name) or "")
    python = tools / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    done = subprocess.run(
        [ROOT / "docker" / "wheelhouse.sh", "--out", tmp_path / "house"],
        env={"PATH": str(tools), "PNEUMO_PYTHON": str(python)},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.startswith("wheelhouse: found no uv; expected it on PATH; run: ")
    assert [path.name for path in tmp_path.iterdir()] == ["tools"]
