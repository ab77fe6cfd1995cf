"""Change a module in one place after another, and print the changes that its tests do not notice.

    python tests/mutation/mutate.py pneumo/inference/decision_rule.py pneumo/training/schedule.py

Needs the dependency group ``mutation`` of pyproject.toml (cosmic-ray). The changes are made in a copy of the
repository: numbers, comparisons, signs, arithmetic, conditions. For each, the module's own test files run, at most
``TIMEOUT_S``. Exit codes: 0 all were noticed, 1 some survived or the module's tests fail without a change.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
TIMEOUT_S = 60.0
"""Longest run of a module's tests; a change that makes them run longer counts as noticed."""
UNLIKELY = [
    r"core/ReplaceBinaryOperator_\w+_(BitAnd|BitOr|BitXor|FloorDiv|LShift|Mod|Pow|RShift)",
    r"core/ReplaceBinaryOperator_(BitAnd|BitOr|BitXor|FloorDiv|LShift|Mod|RShift)_\w+",
    r"core/ReplaceComparisonOperator_\w+_(Is|IsNot|Eq|NotEq)",
    r"core/ReplaceComparisonOperator_(GtE|Gt)_(Lt|LtE)",
    r"core/ReplaceComparisonOperator_(LtE|Lt)_(Gt|GtE)",
    r"core/RemoveDecorator",
]
"""Changes that nobody makes by mistake, or that are cruder than another one of the same place."""


def mirrored_tests(module: Path, root: Path) -> list[str]:
    """Return the test files of a module, at the places that tests/test_mirror.py names."""
    directory = module.parent.name
    names = (module.stem, f"{directory}_{module.stem}", f"{directory.removesuffix('s')}_{module.stem}")
    mirrored = root / "tests" / module.parent.relative_to("pneumo")
    return sorted(
        str(path.relative_to(root)) for name in set(names) if (path := mirrored / f"test_{name}.py").is_file()
    )


def mutate(module: Path, copy: Path) -> tuple[int, list[str]]:
    """Try all changes of a module in a copy of the repository.

    Returns:
        The number of changes, and for each that survived its place and what it is.
    """
    tests = mirrored_tests(module, copy)
    if not tests:
        sys.exit(f"mutate.py: {module} has no tests of its own; expected a module of pneumo/ with a mirrored test file")
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests]
    if subprocess.run(command, cwd=copy, env=_environment(copy), stdout=subprocess.DEVNULL, check=False).returncode:
        sys.exit(f"mutate.py: {' '.join(tests)} fail without a change; expected tests that pass; correct them first")
    config, session = copy / "mutation.toml", copy / "mutation.sqlite"
    session.unlink(missing_ok=True)
    config.write_text(
        f'[cosmic-ray]\nmodule-path = "{module}"\ntimeout = {TIMEOUT_S}\nexcluded-modules = []\n'
        f"test-command = {json.dumps(' '.join(command))}\n"
        '[cosmic-ray.distributor]\nname = "local"\n'
        f"[cosmic-ray.filters.operators-filter]\nexclude-operators = {json.dumps(UNLIKELY)}\n"
    )
    tools = Path(sys.executable).parent
    for step in (
        ["cosmic-ray", "init", config, session],
        ["cr-filter-operators", session, config],
        ["cosmic-ray", "exec", config, session],
    ):
        subprocess.run([tools / step[0], *step[1:]], cwd=copy, env=_environment(copy), check=True)
    dump = subprocess.run([tools / "cosmic-ray", "dump", session], cwd=copy, check=True, capture_output=True, text=True)
    outcomes = [json.loads(line) for line in dump.stdout.splitlines()]
    tried = [(work, result) for work, result in outcomes if result and result["worker_outcome"] != "skipped"]
    return len(tried), list(_survivors(tried))


def _survivors(tried: Sequence[tuple[dict, dict]]) -> Iterator[str]:
    for work, result in tried:
        if result["test_outcome"] == "survived":
            lines = [
                line for line in result["diff"].splitlines() if line[:1] in "+-" and line[:3] not in ("+++", "---")
            ]
            change = work["mutations"][0]
            yield f"{change['module_path']}:{change['start_pos'][0]}\n" + "\n".join(lines)


def _environment(copy: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}


def main() -> None:
    """Try the modules that the command names, and print a line for each and its survivors."""
    survived = False
    with tempfile.TemporaryDirectory(prefix="pneumo-mutation-") as directory:
        copy = Path(directory) / "copy"
        shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".git", ".venv", "data", "runs"))
        for name in sys.argv[1:]:
            count, survivors = mutate(Path(name), copy)
            lines = (f"{name}: {count} changes, {len(survivors)} survived", *survivors)
            sys.stdout.write("\n".join(lines) + "\n")
            sys.stdout.flush()
            survived |= bool(survivors)
    sys.exit(survived)


if __name__ == "__main__":
    main()
