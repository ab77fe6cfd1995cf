"""What every command prints about itself."""

import itertools
import re

import pytest
from command_driver import call
from job_commands import JOB

from pneumo import __version__

COLUMNS = 80
"""Of the terminal."""
COMMANDS = sorted(path.stem for path in JOB.glob("*.py"))


@pytest.mark.parametrize("command", COMMANDS)
def test_help_keeps_within_the_terminal_and_breaks_lines_only_where_they_are_full(
    command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(COLUMNS))
    code, out, errors = call(command, ["--help"])
    assert (code, errors) == (0, "")
    assert f"usage: job/{command}.py " in out
    box = [line[1:-1].rstrip() for line in out.splitlines() if line.startswith("│")]
    assert max(map(len, box)) <= COLUMNS - 2
    column = re.search(r"^ -h, --help +", "\n".join(box), re.MULTILINE)[0]  # type: ignore[index]
    for this, following in itertools.pairwise(box):
        if this.startswith(" " * len(column)) and following.startswith(" " * len(column)):
            room = COLUMNS - 4 - len(this)
            assert len(following.split()[0]) >= room, "the first word of a line would fit on the one before"


@pytest.mark.parametrize("command", COMMANDS)
def test_the_version_is_printed(command: str) -> None:
    assert call(command, ["--version"]) == (0, f"job/{command}.py {__version__}\n", "")
