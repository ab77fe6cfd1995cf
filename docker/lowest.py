#!/usr/bin/env python3
"""Print the lowest version of everything that pyproject.toml asks for, as requirements that pip takes.

    python docker/lowest.py > lowest.txt

Pip resolves to the newest of everything; this is how the other end of the ranges is tried (``pytest -m bounds``).
"""

import sys

from pip._vendor.packaging.requirements import Requirement
from resolve import project_requirements

EXTRAS = ("cuda13", "test")
"""What runs and tests the project; the tools of the extra `check` come as they are."""


def lowest(line: str) -> str:
    """Return ``name==version`` with the lower end of a requirement's range, and its marker."""
    requirement = Requirement(line)
    (version,) = {part.version for part in requirement.specifier if part.operator in (">=", "==")}
    return f"{requirement.name}=={version}" + (f"; {requirement.marker}" if requirement.marker else "")


if __name__ == "__main__":
    sys.stdout.writelines(f"{lowest(line)}\n" for line in project_requirements(EXTRAS))
