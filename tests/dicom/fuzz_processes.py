"""Read mutated files in processes of their own, so that a crash or a hang is attributed to its file."""

import multiprocessing
import os
import resource
import time
import traceback
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import NamedTuple

import fuzz_mutations
from fuzz_oracle import Oracle

HANG_S = 600.0
"""Seconds for one file; the slowest takes half a second."""
MEMORY = 6 << 30
"""Limit of a process's address space in bytes, so that a decompression bomb does not exhaust the machine."""


class Outcome(NamedTuple):
    """The outcome of one mutation."""

    number: int
    what: str
    """``rejected``, ``untouched``, ``compared``, or a description of the failure."""
    failed: bool
    peak: int
    """Peak memory of the process until then, in bytes."""


def run(corpus: dict[str, bytes], seed: int, numbers: list[int], directory: Path, workers: int = 2) -> list[Outcome]:
    """Check the mutations of these numbers, divided among the workers."""
    outcomes = list[Outcome]()
    running = dict[Connection, _Worker]()
    for index in range(workers):
        worker = _Worker(corpus, seed, numbers[index::workers], directory / f"{index}.dcm")
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
    """One process after another that checks its part of the mutations."""

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
            return self._fail(f"the process died with {self.process.exitcode}") if self.pending else None
        self.pending = self.pending[1:]
        self.since = time.monotonic()
        return Outcome(*outcome)

    def check_time(self) -> Outcome | None:
        if time.monotonic() - self.since < HANG_S:
            return None
        self.process.kill()
        self.process.join()
        self.ended = True
        return self._fail(f"still reading after {HANG_S:.0f} s")

    def _fail(self, failure: str) -> Outcome:
        number, self.pending = self.pending[0], self.pending[1:]
        return Outcome(number, failure, True, 0)


def _work(connection: Connection, corpus: dict[str, bytes], seed: int, numbers: list[int], path: Path) -> None:
    # Decoders in C write warnings to standard error.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    oracle = Oracle(corpus, path)
    for number in numbers:
        name, _, data = fuzz_mutations.mutate(seed, number, corpus)
        try:
            what, failed = oracle.check(name, data), False
        except BaseException:
            what, failed = traceback.format_exc(limit=-4), True
        peak = _peak()
        connection.send((number, what, failed, peak))


def _peak() -> int:
    """Return the peak memory of this process in bytes; ``getrusage`` would include its parent's."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024
