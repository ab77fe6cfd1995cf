"""Processes that read spoiled files, so that a crash or a hang is known by its file and ends no more than that."""

import multiprocessing
import os
import resource
import time
import traceback
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import NamedTuple

import fuzz_mutations
from fuzz_judge import Judge

HANG_S = 60.0
"""Seconds for one file of which the slowest takes half of one."""
MEMORY = 6 << 30
"""Bytes of address space that a process may take: so that a test of bombs ends nobody else's process."""


class Outcome(NamedTuple):
    """What became of one mutation."""

    number: int
    what: str
    """``rejected``, ``untouched``, ``compared``, or the trouble."""
    trouble: bool
    peak: int
    """Most memory that the process had until then, bytes."""


def run(corpus: dict[str, bytes], seed: int, numbers: list[int], folder: Path, workers: int = 2) -> list[Outcome]:
    """Judge the mutations of these numbers, each worker every so many-th of them."""
    outcomes = list[Outcome]()
    running = dict[Connection, _Worker]()
    for place in range(workers):
        worker = _Worker(corpus, seed, numbers[place::workers], folder / f"{place}.dcm")
        running[worker.start()] = worker
    while running:
        ready = wait(list(running), timeout=1)
        for connection in list(running):
            worker = running[connection]
            outcome = worker.receive() if connection in ready else worker.check_time()
            if outcome is not None:
                outcomes.append(outcome)
            if worker.ended:
                del running[connection]
                if worker.pending:
                    running[worker.start()] = worker
    return outcomes


class _Worker:
    """One process after another that works on its share of the mutations."""

    def __init__(self, corpus: dict[str, bytes], seed: int, numbers: list[int], path: Path) -> None:
        self.corpus, self.seed, self.pending, self.path = corpus, seed, numbers, path

    def start(self) -> Connection:
        context = multiprocessing.get_context("spawn")
        self.connection, end = context.Pipe(duplex=False)
        arguments = (end, self.corpus, self.seed, self.pending, self.path)
        self.process = context.Process(target=_work, args=arguments, daemon=True)
        self.process.start()
        end.close()
        self.since, self.ended = time.monotonic(), False
        return self.connection

    def receive(self) -> Outcome | None:
        try:
            outcome = self.connection.recv()
        except EOFError:
            self.process.join()
            self.ended = True
            return self._blame(f"the process died with {self.process.exitcode}") if self.pending else None
        self.pending = self.pending[1:]
        self.since = time.monotonic()
        return Outcome(*outcome)

    def check_time(self) -> Outcome | None:
        if time.monotonic() - self.since < HANG_S:
            return None
        self.process.kill()
        self.process.join()
        self.ended = True
        return self._blame(f"still reading after {HANG_S:.0f} s")

    def _blame(self, trouble: str) -> Outcome:
        number, self.pending = self.pending[0], self.pending[1:]
        return Outcome(number, trouble, True, 0)


def _work(connection: Connection, corpus: dict[str, bytes], seed: int, numbers: list[int], path: Path) -> None:
    # Decoders in C write what they think of a file to standard error.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    judge = Judge(corpus, path)
    for number in numbers:
        name, _, data = fuzz_mutations.mutate(seed, number, corpus)
        try:
            what, trouble = judge.judge(name, data), False
        except BaseException:
            what, trouble = traceback.format_exc(limit=-4), True
        peak = _peak()
        connection.send((number, what, trouble, peak))


def _peak() -> int:
    """Return the most bytes of memory that this process held; ``getrusage`` would count its parent's too."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024
