"""Kills a command at random instants and starts it again, for a number of kills, and then lets it finish.

The instants are spread over the work itself: the start is mostly imports, and kills there test little.
"""

import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from chaos_pipeline import Command, Durations
from chaos_processes import KILL_METHODS, RunningCommands
from chaos_products import differences, temporaries, tree

INSTANTS = ("work", "writing", "work", "writing", "start")
"""Used in turn and shuffled: after the work began; the same, with a file half written; while the command starts."""


@dataclass(frozen=True, kw_only=True)
class Kill:
    """One kill, for the report."""

    command: str
    instant: str
    seconds: float
    """Since the start."""
    method: str
    at_work: bool
    """Something on disk had changed since the start."""
    torn: int
    """Half-written files and directories that this kill left."""
    published: int
    """Files that were published by then."""

    def __str__(self) -> str:
        work = "at work" if self.at_work else "before its work"
        return (
            f"{self.command:8} {self.seconds:6.2f} s, {work:15} (planned: {self.instant:7})  {self.method};"
            f" {self.published} files published, {self.torn} torn"
        )


@dataclass(kw_only=True)
class Killer:
    """Runs a command through its kills."""

    command: Command
    durations: Durations
    reference: Path
    """Directory of the uninterrupted run."""
    directory: Path
    """Directory of the run that is killed."""
    scratch: Path
    """For temporary files of the commands."""
    rng: np.random.Generator
    kills: list[Kill] = field(default_factory=list)
    starts: int = 0
    resumed: int = 0
    """Starts that logged that they resumed earlier work."""
    rounds: int = 0
    """Times that the command was run from nothing to its end."""

    def __post_init__(self) -> None:
        self.work = self.durations.work

    def spread(self, kills: int) -> float:
        """Return the share of the work within which a kill comes; work that is kept has to last for all kills."""
        return 1.6 / (kills + 1) if self.command.keeps_work else 1.0

    def run(self, budget: int) -> None:
        """Kill the command ``budget`` times; whenever it finishes, its results must equal the uninterrupted run's.

        Raises:
            AssertionError: When they do not, when the command ends with an error of its own, or when it hangs.
        """
        instants = [INSTANTS[i % len(INSTANTS)] for i in range(budget)]
        self.rng.shuffle(instants)
        while len(self.kills) < budget or not self.rounds:
            self._round(instants)

    def _round(self, instants: list[str]) -> None:
        """Run the command from nothing to its end, killing it as long as there are kills left."""
        shutil.rmtree(self.directory, ignore_errors=True)
        self.directory.mkdir(parents=True)
        self.command.prepare(self.directory)
        is_done = False
        while not is_done:
            assert self.starts < 4 * len(instants) + 10, f"{self.command.name} is mostly too fast to be killed"
            self.starts += 1
            left = instants[len(self.kills) :]
            is_done = self._start(left[0] if left else "", self.work * self.spread(len(instants)))
        self.rounds += 1

    def _start(self, instant: str, window: float) -> bool:
        """Start the command, kill it unless ``instant`` is empty, and return whether it finished."""
        variant = self.command.variants[int(self.rng.integers(len(self.command.variants)))]
        before, began = tree(self.directory), time.monotonic()
        started = RunningCommands(variant(self.directory), self.directory.with_suffix(".log"), self.scratch)
        try:
            self._wait_for(instant, window, started, before)
            if instant and not started.is_over:
                self._kill(instant, started, before, began)
        finally:
            started.end()
        is_done = set(started.codes) == {0}
        message = self.command.resume_message
        self.resumed += bool(message) and message in started.output
        faults = differences(self.directory, self.reference, finished=is_done)
        details = "\n".join([*faults, *map(str, self.kills[-3:]), started.output])
        assert is_done or instant, f"{self.command.name} ended with {started.codes} by itself:\n{details}"
        assert not faults, f"{self.command.name} left other results than an uninterrupted run:\n{details}"
        return is_done

    def _wait_for(
        self, instant: str, window: float, started: RunningCommands, before: dict[str, tuple[int, int]]
    ) -> None:
        """Wait for the instant, or for the end of the commands if that comes first."""
        delay = float(self.rng.uniform(0, self.durations.idle if instant == "start" else window))
        if not instant:
            started.wait(lambda: started.is_over, self.command.name)
            return
        if instant != "start":
            started.wait(lambda: tree(self.directory) != before or started.is_over, self.command.name)
        changed = time.monotonic()
        deadline = changed + delay
        while time.monotonic() < deadline and not started.is_over:
            time.sleep(0.001)
        if instant == "writing":
            old = temporaries(self.directory)
            started.wait(lambda: bool(temporaries(self.directory) - old) or started.is_over, self.command.name)
        if started.is_over and instant != "start" and not self.command.keeps_work:
            # The machine is faster now than it was for the uninterrupted run.
            self.work = min(self.work, time.monotonic() - changed)
        wrong = set(started.codes) - {0, None}
        assert not wrong, f"{self.command.name} ended with {wrong} by itself:\n{started.output}"

    def _kill(self, instant: str, started: RunningCommands, before: dict[str, tuple[int, int]], began: float) -> None:
        method = list(KILL_METHODS)[int(self.rng.choice(len(KILL_METHODS), p=list(KILL_METHODS.values())))]
        seconds, at_work = time.monotonic() - began, tree(self.directory) != before
        text = method(started, self.rng)
        after = temporaries(self.directory)
        self.kills.append(
            Kill(
                command=self.command.name,
                instant=instant,
                seconds=seconds,
                method=text,
                at_work=at_work,
                torn=len(after - before.keys()),
                published=sum(path.is_file() and not path.name.startswith(".") for path in self.directory.rglob("*")),
            )
        )
