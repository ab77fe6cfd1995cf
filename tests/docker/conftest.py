"""The engine that builds and runs the image, and the image."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import engine as engines
import pytest
from engine import Engine

ROOT = Path(__file__).resolve().parents[2]
IMAGE = "pneumo:0.2.0"


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """Docker or podman. PNEUMO_KEEP_IMAGE=DIRECTORY keeps the image, podman's in DIRECTORY."""
    kept = os.environ.get("PNEUMO_KEEP_IMAGE")
    directory = Path(kept).resolve() if kept else tmp_path_factory.mktemp("engine")
    directory.mkdir(exist_ok=True)
    found = engines.docker() or engines.podman(directory)
    if found is None:
        pytest.skip("needs a Docker daemon, or podman and root")
    yield found
    if kept:
        return
    found("rmi", "--force", IMAGE, check=False)
    if found.command == "podman":
        found("rm", "--all", "--force")
        found("rmi", "--all", "--force")
        shutil.rmtree(directory)


@pytest.fixture(scope="session")
def image(engine: Engine) -> str:
    """The image, built from this checkout."""
    flags: list[str] = []
    if engine.command == "podman":
        base = base_name()
        if engine.process(["image", "exists", base]).returncode:
            if not shutil.which("debootstrap"):
                pytest.skip("needs debootstrap for a stand-in of the base image")
            script = [str(ROOT / "tests" / "docker" / "base_image.sh"), base]
            subprocess.run(script, env=os.environ | engine.environment, check=True, timeout=600)
        # A layer for every step would hold the packages, 7 GB, twice more while it builds.
        flags = [*engine.build_flags, "--layers=false"]
    began = time.monotonic()
    engine("build", *flags, "--file", ROOT / "docker/Dockerfile", "--tag", IMAGE, ROOT, timeout=2400)
    size = int(engine("image", "inspect", "--format", "{{.Size}}", IMAGE))
    print(f"image: {size / 1e9:.2f} GB, built in {time.monotonic() - began:.0f} s")  # noqa: T201
    return IMAGE


def base_name() -> str:
    """Return the name of the base image in the Dockerfile."""
    lines = (ROOT / "docker" / "Dockerfile").read_text().splitlines()
    (line,) = [line for line in lines if line.startswith("ARG PYTHON_IMAGE=")]
    return line.partition("=")[2]
