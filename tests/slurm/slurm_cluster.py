"""A real Slurm on this machine, and runs that are submitted to it, watched and disturbed."""

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
RECIPE = ["--epochs", "5", "--image-size", "32", "--checkpoint-every", "2"]
"""Words for job/train.py: 20 steps a fold, with checkpoints in the middle of epochs."""
PRODUCTS = ["submission.csv", "oof.csv", "oof.parquet", "thresholds.json"]
HANG_S = 240.0
"""Bounds a hang; nothing here takes as long."""


def clean_environment() -> dict[str, str]:
    """The environment without settings of the scripts, or of a job that the tests may be part of."""
    return {k: v for k, v in os.environ.items() if not k.startswith(("PNEUMO_", "SLURM_", "SBATCH_"))}


def wait_for(what: str, is_so: Callable[[], object], explain: Callable[[], str] = str) -> None:
    deadline = time.monotonic() + HANG_S
    while not is_so():
        assert time.monotonic() < deadline, f"{what}: not within {HANG_S:.0f} s\n{explain()}"
        time.sleep(0.02)


class Cluster:
    """What a user of the cluster can do, and the power switch of its nodes."""

    def script(self, *words: object) -> str:
        done = subprocess.run(
            [SCRIPT, *map(str, words)],
            check=False,
            capture_output=True,
            text=True,
            timeout=HANG_S,
            env=clean_environment(),
            cwd=ROOT,
        )
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        return done.stdout

    def run(self, *words: object) -> str:
        return self.script("run", *words)

    @contextmanager
    def without(self, node: str) -> Iterator[None]:
        """Cut a node's power while the block runs."""
        self.script("lose", node)
        try:
            yield
        finally:
            self.script("restore", node)

    def job(self, job: str) -> dict[str, str]:
        """Slurm's record of a job or of an array's element."""
        words = self.run("scontrol", "--oneliner", "show", "job", job).splitlines()[0].split()
        return dict(word.split("=", 1) for word in words if "=" in word)

    def state(self, job: str) -> str:
        return self.job(job)["JobState"]

    def ended(self, job: str) -> str:
        """Wait until a job has ended and left, and return its state and exit code."""
        gone = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "OUT_OF_MEMORY"}
        wait_for(f"end of job {job}", lambda: self.state(job) in gone, lambda: self.run("scontrol", "show", "job", job))
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
        """Submit; the words for train.py are added."""
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
        return [pid for pid, words in _processes() if self._is_rank(words, fold)]

    def _is_rank(self, words: Sequence[str], fold: int | None) -> bool:
        if not words[0].endswith("python") or str(self.run) not in words:
            return False
        return fold is None or ("--folds" in words and words[words.index("--folds") + 1] == str(fold))

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
                assert not (self._folder(fold) / "fold.json").exists(), "it was too fast to be disturbed"
                frozen += pids
                left.remove(fold)
        return frozen

    def _folder(self, fold: int | None) -> Path:
        return self.run / f"fold-{fold or 0}"

    def _has_begun(self, fold: int | None) -> bool:
        return any(self._folder(fold).glob("checkpoints/step-*"))

    def assert_same(self, other: Path) -> None:
        """Compare with an undisturbed run byte by byte, and look for what was left behind."""
        for name in [*PRODUCTS, "fold-0/model.safetensors", "fold-1/model.safetensors"]:
            assert (self.run / name).read_bytes() == (other / name).read_bytes(), name
        self.assert_nothing_left()

    def assert_nothing_left(self) -> None:
        hidden = [p for folder in (self.run, self.dataset) for p in folder.rglob(".*")]
        assert hidden == []
        left = [words for _, words in _processes() if str(self.run) in words]
        assert left == []
        queue = self.cluster.run("squeue", "--noheader", "--jobs", ",".join(self.ids.values()))
        assert queue == ""


def thaw(pids: Sequence[int]) -> None:
    """Let frozen processes go on; Slurm may have done so already, and they may have ended since."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def _processes() -> Iterator[tuple[int, list[str]]]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                words = (entry / "cmdline").read_text().split("\0")
            except (FileNotFoundError, ProcessLookupError):
                continue
            yield int(entry.name), words
