"""How the tests of this directory run commands: in processes that reach nothing but this machine."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from planted import Planted
from waiting import LONG_S

ROOT = Path(__file__).resolve().parents[2]
JOB = ROOT / "job"
SMALL = ("--model.encoder", "tu-test_efficientnet", "--model.decoder-channels", *["16"] * 5)
"""The smallest encoder of timm and a small decoder: every byte that is written is searched."""
GUARD = Path(__file__).resolve().parent / "guard"
"""Directory of the ``sitecustomize`` that records and refuses what leaves the machine."""


@dataclass
class Commands:
    """Runs commands without a network and keeps their output."""

    directory: Path
    output: dict[str, str] = field(default_factory=dict)
    """Standard output and error by the command's name."""

    @property
    def attempts(self) -> Path:
        """Where the guard writes down each attempt to reach another machine."""
        return self.directory / "attempts.txt"

    def run(self, name: str, *words: object, expect: int = 0) -> str:
        """Run Python with these arguments, and return its output."""
        ended = self._run(words)
        self.output[name] = ended.stdout
        assert ended.returncode == expect, ended.stdout
        return ended.stdout

    def run_sequence(self, commands: Mapping[str, Sequence[object]], *, expect: int = 0) -> None:
        """Run commands of job/ one after another in one process."""
        lines = [(Path(str(script)).stem, list(map(str, words))) for script, *words in commands.values()]
        ended = self._run([ROOT / "tests" / "command_driver.py"], json.dumps(lines))
        assert ended.returncode == 0, ended.stdout
        for name, (code, output, errors) in zip(commands, json.loads(ended.stdout), strict=True):
            self.output[name] = output + errors
            assert code in ({expect, None} if expect == 0 else {expect}), f"{name}: {output}{errors}"

    def _run(self, words: Sequence[object], stdin: str = "") -> subprocess.CompletedProcess[str]:
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join([str(GUARD), str(ROOT)]),
            "PNEUMO_TEST_ATTEMPTS": str(self.attempts),
            "TMPDIR": str(self.temporary),
            "HOME": str(self._directory("home")),
        }
        return subprocess.run(
            [*without_network(), sys.executable, *map(str, words)],
            env=environment,
            cwd=self.directory,
            input=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=LONG_S,
            check=False,
            umask=0o022,
        )

    @property
    def temporary(self) -> Path:
        """The directory for temporary files of these commands."""
        return self._directory("tmp")

    def _directory(self, name: str) -> Path:
        path = self.directory / name
        path.mkdir(exist_ok=True)
        return path


def without_network() -> list[str]:
    """Return the prefix that runs a command without a network but loopback, nothing where that is not permitted."""
    words = ["unshare", "--net", "--map-root-user", "sh", "-c", 'ip link set lo up; exec "$@"', "sh"]
    try:
        permitted = subprocess.run([*words, "true"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        permitted = False
    return words if permitted else []


@dataclass(frozen=True)
class Chain:
    """The results of the commands on the planted files."""

    planted: Planted
    commands: Commands
    out: Path
    """Directory of everything that the commands wrote."""
