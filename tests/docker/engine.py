"""The container engine that this machine has: Docker with its daemon, or podman, which needs none."""

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

# podman's own default limits ask for more than a process without CAP_SYS_RESOURCE may have; crun 1.8 refuses
# machines with hybrid control groups, which runc takes.
CONTAINERS = """\
[containers]
default_ulimits = ["nofile=20000:20000", "nproc=20000:20000"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
"""


@dataclass(frozen=True)
class Engine:
    """Runs the engine's command with its own storage, which goes away with its directory."""

    command: str
    environment: dict[str, str] = field(default_factory=dict)
    build_flags: tuple[str, ...] = ()
    run_flags: tuple[str, ...] = ()

    def __call__(self, *words: str | Path, timeout: float = 300, check: bool = True) -> str:
        """Run a command of the engine; give its standard output."""
        done = self.process(words, timeout)
        assert not check or done.returncode == 0, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def process(self, words: Sequence[str | Path], timeout: float = 300) -> subprocess.CompletedProcess[str]:
        """Run a command of the engine, whatever its exit code."""
        return subprocess.run(
            [self.command, *map(str, words)],
            env=os.environ | self.environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )


def docker() -> Engine | None:
    """Docker, if its daemon answers."""
    if not shutil.which("docker"):
        return None
    asked = subprocess.run(["docker", "version"], capture_output=True, timeout=30, check=False)
    return Engine("docker", run_flags=("--pull=never",)) if asked.returncode == 0 else None


def podman(directory: Path) -> Engine | None:
    """Podman with all it writes inside ``directory``: images, build caches, temporary files."""
    if not shutil.which("podman") or os.geteuid() != 0:
        return None
    settings = directory / "containers.conf"
    settings.write_text(CONTAINERS)
    storage = directory / "storage.conf"
    storage.write_text(
        f'[storage]\ndriver = "overlay"\ngraphroot = {json.dumps(str(directory / "storage"))}\n'
        f"runroot = {json.dumps(str(directory / 'run'))}\n"
    )
    temporary = directory / "tmp"
    temporary.mkdir(exist_ok=True)
    volumes = [f"--volume={path}:{path}:ro" for path in download_settings()]
    return Engine(
        "podman",
        {"CONTAINERS_CONF": str(settings), "CONTAINERS_STORAGE_CONF": str(storage), "TMPDIR": str(temporary)},
        ("--isolation=chroot", "--network=host", "--format=docker", "--pull=never", *volumes),
        # Docker makes no other directories writable under --read-only; nor shall podman here.
        ("--pull=never", "--read-only-tmpfs=false"),
    )


def download_settings() -> list[Path]:
    """Whatever pip on this machine is told to use: settings, certificates, local directories of wheels."""
    settings = [path for path in (Path("/etc/pip.conf"), Path("~/.config/pip/pip.conf").expanduser()) if path.exists()]
    words = " ".join(path.read_text() for path in settings).replace("file://", "").split()
    named = settings + [Path(word) for word in [*words, "/etc/ssl/certs"] if word.startswith("/")]
    # An index page links to the directory beside it, so mount what holds both: /opt/index for /opt/index/simple.
    return sorted({Path(*path.parts[:3]) for path in named if path.exists()})
