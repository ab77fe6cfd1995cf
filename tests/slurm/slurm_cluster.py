"""A real Slurm on this machine, and runs that are submitted to it, observed and interrupted."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = Path(__file__).with_name("cluster.sh")
SMALL = ["--image-size", "32", "--model.decoder-channels", *["16"] * 5]
RECIPE = ["--epochs", "3", *SMALL, "--checkpoint-minutes", "0.01"]
"""Flags for job/train.py: 12 steps a fold, with checkpoints in the middle of epochs."""
PRODUCTS = ["submission.csv", "oof.csv", "oof.parquet", "thresholds.json"]
HANG_S = 480.0
"""Timeout of every wait; nothing here takes as long."""


def clean_environment() -> dict[str, str]:
    """The environment without settings of the scripts, or of a job that the tests may be part of."""
    return {k: v for k, v in os.environ.items() if not k.startswith(("PNEUMO_", "SLURM_", "SBATCH_"))}


ASK_S = 0.5
"""Pause between questions to Slurm: each starts programs, on cores that the jobs need."""


def wait_for(
    what: str, is_so: Callable[[], object], explain: Callable[[], str] = str, *, pause_s: float = 0.02
) -> None:
    deadline = time.monotonic() + HANG_S
    while not is_so():
        assert time.monotonic() < deadline, f"{what}: not within {HANG_S:.0f} s\n{explain()}"
        time.sleep(pause_s)


class Cluster:
    """What a user of the cluster can do, and the loss of a node."""

    def script(self, *arguments: object) -> str:
        done = subprocess.run(
            [SCRIPT, *map(str, arguments)],
            check=False,
            capture_output=True,
            text=True,
            timeout=HANG_S,
            env=clean_environment(),
            cwd=ROOT,
        )
        assert done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"
        return done.stdout

    def run(self, *command: object) -> str:
        return self.script("run", *command)

    @contextmanager
    def without(self, node: str) -> Iterator[None]:
        """Lose a node while the block runs: its processes are gone and it does not answer."""
        self.script("lose", node)
        try:
            yield
        finally:
            self.script("restore", node)

    def job(self, job: str) -> dict[str, str]:
        """Slurm's record of a job or of an array's element."""
        fields = self.run("scontrol", "--oneliner", "show", "job", job).splitlines()[0].split()
        return dict(field.split("=", 1) for field in fields if "=" in field)

    def state(self, job: str) -> str:
        return self.job(job)["JobState"]

    def ended(self, job: str) -> str:
        """Wait until a job has ended, and return its state and exit code."""
        final = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "OUT_OF_MEMORY"}
        show = ["scontrol", "show", "job", job]
        wait_for(f"end of job {job}", lambda: self.state(job) in final, lambda: self.run(*show), pause_s=ASK_S)
        record = self.job(job)
        return f"{record['JobState']} {record['ExitCode']}"


@dataclass
class Submission:
    """One call of slurm/submit.sh."""

    cluster: Cluster
    run: Path
    dataset: Path
    logs: Path
    ids: dict[str, str] = field(default_factory=dict)

    def submit(self, *flags: object) -> "Submission":
        """Submit with these flags, those of this cluster and those for train.py."""
        settings = ["--dataset", self.dataset, "--run", self.run, "--logs", self.logs, "--venv", sys.prefix]
        settings += [
            "--recipe",
            "debug",
            "--num-folds",
            2,
            "--cpus",
            1,
            "--shard-cpus",
            1,
            "--memory",
            "2G",
            "--time",
            10,
        ]
        printed = self.cluster.run(ROOT / "slurm" / "submit.sh", *settings, *flags, "--", *RECIPE)
        self.ids = dict(line.split() for line in printed.splitlines())
        return self

    def fold(self, fold: int) -> str:
        """The job id of a fold's element."""
        return f"{self.ids['folds']}_{fold}"

    def log(self, fold: int | None = None) -> str:
        """The log of a fold, or of the job that trains all of them."""
        name = f"pneumo-folds-{self.fold(fold)}.log" if fold is not None else f"pneumo-world-{self.ids['world']}.log"
        path = self.logs / name
        return path.read_text() if path.exists() else ""

    def ended(self) -> list[str]:
        """Wait until all jobs have ended; return states and exit codes in the order of submission."""
        jobs = [
            j for name, i in self.ids.items() for j in ([f"{i}_0", f"{i}_1"] if name in ("shard", "folds") else [i])
        ]
        return [self.cluster.ended(job) for job in jobs]

    def ranks(self, fold: int | None = None) -> list[int]:
        """The processes that train a fold, or any fold, of this run on any node."""
        return [pid for pid, command in _processes() if self._is_rank(command, fold)]

    def _is_rank(self, command: Sequence[str], fold: int | None) -> bool:
        if not command[0].endswith("python") or str(self.run) not in command:
            return False
        return fold is None or ("--folds" in command and command[command.index("--folds") + 1] == str(fold))

    def freeze(self, *folds: int) -> list[int]:
        """Stop the processes that train the folds, or all ranks of the job, between their first and last step.

        Each is stopped as soon as it has a checkpoint, whichever comes first.
        """
        frozen: list[int] = []
        left: list[int | None] = list(folds) or [None]
        while left:
            wait_for(f"checkpoint of {left}", lambda: any(map(self._has_begun, left)), lambda: self.log(left[0]))
            for fold in filter(self._has_begun, list(left)):
                pids = self.ranks(fold)
                for pid in pids:
                    os.kill(pid, signal.SIGSTOP)
                assert pids
                assert not (self._directory(fold) / "fold.json").exists(), "it ended before it could be interrupted"
                frozen += pids
                left.remove(fold)
        return frozen

    def _directory(self, fold: int | None) -> Path:
        return self.run / f"fold-{fold or 0}"

    def _has_begun(self, fold: int | None) -> bool:
        return any(self._directory(fold).glob("checkpoints/step-*"))

    def assert_same(self, other: Path) -> None:
        """Compare with an uninterrupted run byte by byte, and check that no file, process or job is left."""
        for name in [*PRODUCTS, "fold-0/model.safetensors", "fold-1/model.safetensors"]:
            assert (self.run / name).read_bytes() == (other / name).read_bytes(), name
        self.assert_nothing_left()

    def assert_nothing_left(self) -> None:
        hidden = [p for directory in (self.run, self.dataset) for p in directory.rglob(".*")]
        assert hidden == []
        left = [command for _, command in _processes() if str(self.run) in command]
        assert left == []
        queue = self.cluster.run("squeue", "--noheader", "--jobs", ",".join(self.ids.values()))
        assert queue == ""


def thaw(pids: Sequence[int]) -> None:
    """Resume frozen processes; Slurm may have done so already, and they may have ended since."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def _processes() -> Iterator[tuple[int, list[str]]]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                # Another process's arguments need not be UTF-8.
                command = os.fsdecode((entry / "cmdline").read_bytes()).split("\0")
            except (FileNotFoundError, ProcessLookupError):
                continue
            yield int(entry.name), command
