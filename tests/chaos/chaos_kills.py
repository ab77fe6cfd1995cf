"""Killing a stage at random instants and starting it again, until it was killed often enough, and then to its end.

The instants are spread over the work itself: a start is mostly imports, and kills there are dull.
"""

import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from chaos_processes import MANNERS, Started
from chaos_products import differences, temporaries, tree
from chaos_stages import Pace, Stage

INSTANTS = ("work", "writing", "work", "writing", "start")
"""Taken in turn and shuffled: after the work began; the same, with a file half written; while the command starts."""


@dataclass(frozen=True, kw_only=True)
class Kill:
    """One kill, for the report."""

    stage: str
    instant: str
    seconds: float
    """Since the start."""
    manner: str
    at_work: bool
    """Something on disk had changed since the start."""
    torn: int
    """Half-written files and directories that this kill left."""
    published: int
    """Files that were whole by then."""

    def __str__(self) -> str:
        work = "at work" if self.at_work else "before its work"
        return (
            f"{self.stage:8} {self.seconds:6.2f} s, {work:15} (meant: {self.instant:7})  {self.manner};"
            f" {self.published} files published, {self.torn} torn"
        )


@dataclass(kw_only=True)
class Disturber:
    """Drives a stage through its kills."""

    stage: Stage
    pace: Pace
    reference: Path
    """Folder of the undisturbed run."""
    folder: Path
    """Folder in which the stage is disturbed."""
    scratch: Path
    """For temporary files of the commands."""
    rng: np.random.Generator
    kills: list[Kill] = field(default_factory=list)
    starts: int = 0
    went_on: int = 0
    """Starts that said that they took up earlier work."""
    rounds: int = 0
    """Times that the stage was done from nothing to its end."""

    def __post_init__(self) -> None:
        self.work = self.pace.work

    def spread(self, kills: int) -> float:
        """Return the part of the work after which a kill comes at the latest; work that is kept is to last for all."""
        return 1.6 / (kills + 1) if self.stage.takes_up else 1.0

    def run(self, budget: int) -> None:
        """Kill the stage ``budget`` times; each time that it comes to its end, it has left what the undisturbed did.

        Raises:
            AssertionError: When it does not, when it ends with an error of its own, or when it hangs.
        """
        instants = [INSTANTS[i % len(INSTANTS)] for i in range(budget)]
        self.rng.shuffle(instants)
        while len(self.kills) < budget or not self.rounds:
            self._round(instants)

    def _round(self, instants: list[str]) -> None:
        """Do the stage from nothing to its end, killing it as long as there are kills left."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        self.stage.prepare(self.folder)
        is_done = False
        while not is_done:
            assert self.starts < 4 * len(instants) + 10, f"{self.stage.name} is mostly too fast to be killed"
            self.starts += 1
            left = instants[len(self.kills) :]
            is_done = self._start(left[0] if left else "", self.work * self.spread(len(instants)))
        self.rounds += 1

    def _start(self, instant: str, window: float) -> bool:
        """Start the stage, kill it unless ``instant`` is empty, and return whether it came to its end."""
        form = self.stage.forms[int(self.rng.integers(len(self.stage.forms)))]
        before, began = tree(self.folder), time.monotonic()
        started = Started(form(self.folder), self.folder.with_suffix(".log"), self.scratch)
        try:
            self._wait_for(instant, window, started, before)
            if instant and not started.is_over:
                self._kill(instant, started, before, began)
        finally:
            started.end()
        is_done = set(started.codes) == {0}
        self.went_on += bool(self.stage.went_on) and self.stage.went_on in started.output
        faults = differences(self.folder, self.reference, finished=is_done)
        told = "\n".join([*faults, *map(str, self.kills[-3:]), started.output])
        assert is_done or instant, f"{self.stage.name} ended with {started.codes} by itself:\n{told}"
        assert not faults, f"{self.stage.name} left something else than undisturbed:\n{told}"
        return is_done

    def _wait_for(self, instant: str, window: float, started: Started, before: dict[str, tuple[int, int]]) -> None:
        """Wait for the instant, or for the end of the commands if that comes first."""
        delay = float(self.rng.uniform(0, self.pace.idle if instant == "start" else window))
        if not instant:
            started.wait(lambda: started.is_over, self.stage.name)
            return
        if instant != "start":
            started.wait(lambda: tree(self.folder) != before or started.is_over, self.stage.name)
        changed = time.monotonic()
        deadline = changed + delay
        while time.monotonic() < deadline and not started.is_over:
            time.sleep(0.001)
        if instant == "writing":
            old = temporaries(self.folder)
            started.wait(lambda: bool(temporaries(self.folder) - old) or started.is_over, self.stage.name)
        if started.is_over and instant != "start" and not self.stage.takes_up:
            # The machine is faster now than it was for the undisturbed run.
            self.work = min(self.work, time.monotonic() - changed)
        wrong = set(started.codes) - {0, None}
        assert not wrong, f"{self.stage.name} ended with {wrong} by itself:\n{started.output}"

    def _kill(self, instant: str, started: Started, before: dict[str, tuple[int, int]], began: float) -> None:
        manner = list(MANNERS)[int(self.rng.choice(len(MANNERS), p=list(MANNERS.values())))]
        seconds, at_work = time.monotonic() - began, tree(self.folder) != before
        text = manner(started, self.rng)
        after = temporaries(self.folder)
        self.kills.append(
            Kill(
                stage=self.stage.name,
                instant=instant,
                seconds=seconds,
                manner=text,
                at_work=at_work,
                torn=len(after - before.keys()),
                published=sum(path.is_file() and not path.name.startswith(".") for path in self.folder.rglob("*")),
            )
        )
