#!/usr/bin/env python3
"""Ask pip-audit for known vulnerabilities of the locked packages; an audit that was skipped never counts as passed.

    python docker/audit.py

pip-audit reports "No known vulnerabilities found" and ends with 0 when its service could not be asked at all; with
--strict it stops at the first package that it could not ask about, without a result for the others. So its report is
parsed. Exit codes: 0 nothing found, or skipped with a notice; 1 a vulnerability, or pip-audit failed otherwise.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

LOCKS = [Path(__file__).resolve().parent / name for name in ("constraints.txt", "weights.txt")]
OPTIONS = ("--format", "json", "--progress-spinner", "off", "--no-deps", "--disable-pip")
UNREACHABLE = ("ConnectionError", "Connection refused", "Max retries", "timed out", "Could not connect", "Server Error")
"""Parts of pip-audit's message when it ends without a report because its service cannot be reached."""

Dependency = Mapping[str, Any]


def main() -> int:
    """Audit, print the result and return the exit code."""
    tool = shutil.which("pip-audit") or shutil.which("pip-audit", path=str(Path(sys.executable).parent))
    if tool is None:
        return notice("pip-audit is not installed")
    files = [word for path in LOCKS for word in ("--requirement", path)]
    done = subprocess.run([tool, *OPTIONS, *files], capture_output=True, text=True, check=False)
    try:
        dependencies = json.loads(done.stdout)["dependencies"]
    except (ValueError, LookupError, TypeError):
        if any(word in done.stderr for word in UNREACHABLE):
            return notice("its service cannot be reached")
        sys.stderr.write(f"{done.stderr}audit: pip-audit ended with {done.returncode} and without a report\n")
        return 1
    return print_result(dependencies)


def print_result(dependencies: Sequence[Dependency]) -> int:
    """Print what a report contains and return the exit code."""
    bad = [dependency for dependency in dependencies if dependency.get("vulns")]
    skipped = [dependency for dependency in dependencies if "skip_reason" in dependency]
    for dependency in bad:
        for found in dependency["vulns"]:
            fixed = ", ".join(found.get("fix_versions", [])) or "no version"
            sys.stderr.write(f"audit: {dependency['name']} {dependency['version']}: {found['id']}, fixed in {fixed}\n")
    audited = len(dependencies) - len(skipped)
    if skipped:
        names = ", ".join(dependency["name"] for dependency in skipped[:3])
        notice(f"{len(skipped)} of {len(dependencies)} packages could not be audited ({names}, ...)")
    if bad:
        return 1
    if audited:
        sys.stdout.write(f"audit: {audited} packages without a known vulnerability\n")
    return 0


def notice(why: str) -> int:
    """Print that the audit was skipped: it neither failed nor passed."""
    sys.stderr.write(f"audit: SKIPPED, {why}: nothing is known about the vulnerabilities of what was not audited\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
