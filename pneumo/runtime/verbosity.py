"""How much a command prints: two flags that every command has."""

import logging
from typing import Annotated

import tyro

from pneumo.runtime.config import config_dataclass
from pneumo.runtime.errors import UserError


@config_dataclass
class Verbosity:
    """How much is printed; the log file has everything."""

    quiet: bool = False
    """Print warnings, errors and results alone: no progress."""
    verbose: bool = False
    """Print details too, such as each rejected file and each saved checkpoint."""

    def __post_init__(self) -> None:
        if self.quiet and self.verbose:
            raise UserError("--quiet and --verbose", "one of them", "leave one out")

    @property
    def level(self) -> int:
        """The lowest level of what is printed."""
        return logging.WARNING if self.quiet else logging.DEBUG if self.verbose else logging.INFO


VerbosityFlags = Annotated[Verbosity, tyro.conf.arg(name="", help="How much is printed.")]
"""The type of the field ``verbosity`` of a command's flags, whose flags have no prefix."""
