"""Change a module in one place after another, and print the changes that its tests do not notice.

    python tests/mutation/mutate.py pneumo/inference/decision_rule.py pneumo/training/schedule.py
    python tests/mutation/mutate.py --sample 20 --log mutation.jsonl --tests tests/loading -- pneumo/loading/*.py

Needs the dependency group ``mutation`` of pyproject.toml (cosmic-ray). The changes are made in copies of the
repository. For each, the module's own test files run, and those of ``--tests`` if they notice nothing. Slow packages
are imported once, in the process from which those of the tests are forked. With ``--log`` each outcome is kept at once,
and another call tries only what is new and what survived.

Exit codes: 0 all that were tried were noticed, 1 some survived, 2 the module's tests fail without a change.
"""

import argparse
import contextlib
import gc
import importlib
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from changes import Change, changes, sample

ROOT = Path(__file__).resolve().parent.parent.parent
SLOW_IMPORTS = (
    *("torch", "torch.distributed", "torch.utils.tensorboard", "torchvision", "accelerate"),
    *("segmentation_models_pytorch", "hypothesis", "cv2", "scipy.ndimage", "pyarrow.parquet"),
    *("sklearn.model_selection", "pydantic", "tyro", "pydicom.pixels"),
)
"""Packages that most tests import; none of pneumo, which the tests shall see changed."""
NOTICED, SURVIVED, TIMED_OUT = "noticed", "survived", "timed out"


def mirrored_tests(module: Path, root: Path) -> list[str]:
    """Return the test files of a module, at the places that tests/test_mirror.py names."""
    directory = module.parent.name
    names = (module.stem, f"{directory}_{module.stem}", f"{directory.removesuffix('s')}_{module.stem}")
    mirrored = root / "tests" / module.parent.relative_to("pneumo")
    return sorted(
        str(path.relative_to(root)) for name in set(names) if (path := mirrored / f"test_{name}.py").is_file()
    )


class Copy:
    """A copy of the repository, in which one change at a time is tried.

    Args:
        path: Where to make it.
    """

    def __init__(self, path: Path) -> None:
        ignored = shutil.ignore_patterns(".git", ".venv", "data", "runs", "__pycache__")
        shutil.copytree(ROOT, path, ignore=ignored)
        self.path = path

    def write(self, module: Path, code: str) -> None:
        """Write a module; the bytecode of another version that is as long and as old must not stand for it."""
        (self.path / module).write_text(code)
        for compiled in (self.path / module.parent / "__pycache__").glob(f"{module.stem}.*.pyc"):
            compiled.unlink()

    def test(self, tests: Sequence[str], limit_s: float) -> str:
        """Run tests on what the copy holds; those that run longer than the limit count as another outcome."""
        pid = os.fork()
        if pid == 0:
            self._run(tests)
        ends, ended = time.monotonic() + limit_s, (0, 0)
        try:
            while not ended[0] and time.monotonic() < ends:
                time.sleep(0.05)
                ended = os.waitpid(pid, os.WNOHANG)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)  # and what the tests left behind
        if not ended[0]:
            os.waitpid(pid, 0)
            return TIMED_OUT
        return NOTICED if ended[1] else SURVIVED

    def _run(self, tests: Sequence[str]) -> None:
        status = 1
        try:
            os.setsid()
            os.chdir(self.path)
            with Path(os.devnull).open("w") as nowhere:
                os.dup2(nowhere.fileno(), 1)
                os.dup2(nowhere.fileno(), 2)
            sys.path.insert(0, str(self.path))
            os.environ["PYTHONPATH"] = str(self.path)
            status = int(pytest.main(["-q", "-x", "-p", "no:cacheprovider", "-p", "no:xdist", *tests]))
        finally:
            os._exit(status)


def try_module(module: Path, copy: Copy, options: argparse.Namespace) -> Iterator[tuple[Change, str]]:
    """Yield each drawn change of a module that was not noticed before, with its outcome."""
    every = list(changes(ROOT, module))
    drawn = sample(every, options.sample, options.seed)
    known = noticed(options.log)
    rounds = [tests for tests in (mirrored_tests(module, ROOT), options.tests) if tests]
    if not rounds:
        sys.exit(f"mutate.py: {module} has no tests of its own; expected a mirrored test file; name some with --tests")
    original, limits = (ROOT / module).read_text(), []
    for tests in rounds:
        began = time.monotonic()
        if copy.test(tests, 3600) != SURVIVED:
            sys.stderr.write(f"mutate.py: {' '.join(tests)} fail without a change; expected tests that pass\n")
            sys.exit(2)
        # On a busy machine the same tests may take several times as long.
        limits.append(60 + 5 * (time.monotonic() - began))
    before = sum(change.digest in known for change in drawn)
    say(f"{module}: {len(every)} changes, {len(drawn)} drawn, {before} of them noticed before")
    for change in drawn:
        if change.digest not in known:
            copy.write(module, change.code)
            outcome = SURVIVED
            for tests, limit_s in zip(rounds, limits, strict=True):
                if outcome == SURVIVED:
                    outcome = copy.test(tests, limit_s)
            yield change, outcome
    copy.write(module, original)


def noticed(log: Path | None) -> set[str]:
    """Return the digests of the changes that were noticed according to a log."""
    if log is None or not log.is_file():
        return set()
    entries = map(json.loads, log.read_text().splitlines())
    return {entry["digest"] for entry in entries if entry["outcome"] == NOTICED}


def keep(log: Path, change: Change, outcome: str) -> None:
    """Append an outcome to a log."""
    entry = {"module": str(change.module), "line": change.line, "diff": change.diff, "digest": change.digest}
    with log.open("a") as file:
        file.write(json.dumps({**entry, "outcome": outcome}) + "\n")


def say(text: str) -> None:
    """Print at once: a call takes long."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main() -> None:
    """Try the modules that the command names, and print each change that survived and a line for each module."""
    parser = argparse.ArgumentParser(description="Print the changes of modules that their tests do not notice.")
    parser.add_argument("modules", nargs="+", type=Path, help="paths below the repository's root, pneumo/...")
    parser.add_argument("--sample", type=int, help="changes of each module that are drawn; default: all")
    parser.add_argument("--seed", type=int, default=0, help="of the draw; a larger sample contains a smaller one")
    parser.add_argument("--tests", nargs="+", default=[], help="tests for what the module's own do not notice")
    parser.add_argument("--log", type=Path, help="file of outcomes, to which this call adds its own")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(3))  # ends what runs, and removes the copy
    os.environ |= {"OMP_WAIT_POLICY": "PASSIVE", "OMP_NUM_THREADS": "1"}
    for name in SLOW_IMPORTS:
        importlib.import_module(name)
    gc.freeze()  # pytest collects garbage at its end, which takes a second with all that is imported here
    survived = False
    with tempfile.TemporaryDirectory(prefix="pneumo-mutation-") as directory:
        copy = Copy(Path(directory) / "copy")
        for module in options.modules:
            outcomes = []
            for change, outcome in try_module(module, copy, options):
                outcomes.append(outcome)
                if options.log is not None:
                    keep(options.log, change, outcome)
                if outcome != NOTICED:
                    say(f"{outcome}: {module}:{change.line}\n{change.diff}")
            counts = ", ".join(f"{outcomes.count(name)} {name}" for name in (NOTICED, SURVIVED, TIMED_OUT))
            say(f"{module}: {len(outcomes)} tried, {counts}")
            survived |= SURVIVED in outcomes
    sys.exit(survived)


if __name__ == "__main__":
    main()
