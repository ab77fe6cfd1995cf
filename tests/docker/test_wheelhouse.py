"""A wheelhouse, made for real, and an installation from it without an index."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LAUNCH = ROOT / "launch.sh"
PART = 60_000_000
ASKED = ["--part-size", "60M", "--extras", "cuda13", "test"]


def offline() -> list[str]:
    """Words that start a command without any network, where the machine lets us."""
    words = ["unshare", "--net"]
    able = shutil.which("unshare") and not subprocess.run([*words, "true"], capture_output=True, check=False).returncode
    return words if able else []


def make(*words: object) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PNEUMO_PYTHON": sys.executable}
    command = [str(LAUNCH), "wheelhouse", *map(str, words)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=1800, check=False)


def install(folder: Path, target: Path) -> subprocess.CompletedProcess[str]:
    """Install as on a bare machine: the plain Python, nothing on PATH, no network."""
    python = os.path.realpath(sys.executable)
    command = [*map(str, filter(None, map(shutil.which, offline()[:1]))), *offline()[1:], python]
    return subprocess.run(
        [*command, str(folder / "install.py"), str(target)],
        env={"PATH": "/nonexistent", "HOME": "/nonexistent", "PIP_NO_INDEX": "1"},
        capture_output=True,
        text=True,
        timeout=1800,
        check=False,
    )


@pytest.fixture(scope="module")
def wheelhouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A wheelhouse whose making was killed once, in the middle of the downloads."""
    out = tmp_path_factory.mktemp("wheelhouse") / "house"
    partial = out.with_name("house.partial")
    first = subprocess.Popen(
        [sys.executable, str(ROOT / "docker" / "wheelhouse.py"), *map(str, ASKED), "--out", str(out)],
        stderr=subprocess.DEVNULL,
    )
    while len(list(partial.glob("wheels/*"))) < 15:
        assert first.poll() is None
        time.sleep(0.1)
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert not out.exists()
    there = {path.name for path in partial.glob("wheels/*")}
    done = make("--out", out, *ASKED)
    assert done.returncode == 0, done.stderr
    assert not {line.split()[-1] for line in done.stderr.splitlines()} & there
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
    locked = set((ROOT / "docker" / "constraints.txt").read_text().split("\n"))
    names = json.loads((wheelhouse / "manifest.json").read_text())["wheels"]
    found = {"==".join(name.lower().split("-")[:2]).replace("_", "-").split("+")[0] for name in names}
    assert found <= locked
    assert {"torch", "pip", "setuptools", "pytest"} <= {pin.partition("==")[0] for pin in found}


@pytest.mark.wheelhouse
def test_the_same_command_again_keeps_it_and_another_is_refused(wheelhouse: Path) -> None:
    before = {path.name: path.stat().st_mtime_ns for path in wheelhouse.iterdir()}
    again = make("--out", wheelhouse, *ASKED)
    assert (again.returncode, "is there already" in again.stderr) == (0, True), again.stderr
    other = make("--out", wheelhouse, "--python", "3.12", *ASKED)
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
        for words, wanted in zip(commands, (f"{target}/pneumo/__init__.py", "Exit codes", " passed"), strict=True):
            command = [*offline(), str(python), *words]
            ran = subprocess.run(command, cwd=target, capture_output=True, text=True, timeout=300, check=False)
            assert ran.returncode == 0, ran.stderr
            assert wanted in ran.stdout
    finally:
        shutil.rmtree(target, ignore_errors=True)  # gigabytes, which pytest would keep for three runs


@pytest.mark.wheelhouse
def test_another_python_is_refused_before_anything_is_unpacked(wheelhouse: Path, tmp_path: Path) -> None:
    folder = tmp_path / "house"
    shutil.copytree(wheelhouse, folder, ignore=shutil.ignore_patterns("part-*", "SHA256SUMS"))
    manifest = json.loads((folder / "manifest.json").read_text()) | {"python": "3.99"}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (folder / "SHA256SUMS").write_text("")
    done = install(folder, tmp_path / "target")
    assert done.returncode == 2
    assert "expected 3.99" in done.stderr
    assert not (tmp_path / "target").exists()


@pytest.mark.wheelhouse
def test_another_python_resolves() -> None:
    code = (
        "import resolve as r\n"
        "packages = r.resolve([*r.project_requirements(['cuda13']), *r.TOOLS], '3.12', r.CONSTRAINTS)\n"
        "print(*(package.filename for package in packages))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT / "docker", capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr
    wheels = done.stdout.split()
    assert any(name.startswith("torch-") and "-cp312-cp312-" in name for name in wheels)
    assert not any("-cp311-cp311-" in name for name in wheels)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--python", "3"], "expected a version like 3.12"),
        (["--part-size", "60Q"], "expected bytes, such as 60M"),
        (["--extras", "cuda14"], "expected some of cuda13"),
    ],
)
def test_wrong_input_is_one_line(tmp_path: Path, words: list[str], message: str) -> None:
    done = make("--out", tmp_path / "house", *words)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []
