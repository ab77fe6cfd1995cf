"""The file of variants that a comparison trains: a name in each line, and the flags of its recipe.

::

    # Is Dice on all images better than on the positive ones?
    laptop:     --recipe laptop
    dice-all:   --recipe laptop --loss.dice-on all

The flags are those of job/train.py's recipe, and --teacher with --pseudo-labels.share; without --recipe it is the
default there. Lines that begin with # and empty ones say nothing.
"""

import contextlib
import io
import itertools
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import tyro

from pneumo.runtime import cli
from pneumo.runtime.config import config_dataclass
from pneumo.runtime.errors import UserError
from pneumo.training import recipe_flags
from pneumo.training.recipe import Recipe

RUNS = "runs"
"""Directory of the runs, in that of a comparison."""
RESULTS = DOCUMENT, TABLE = "comparison.json", "comparison.md"
"""Files of the results there."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,59}")
MAX_BYTES = 1 << 20
"""Of the file: more is no list that a person wrote."""


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A variant of a comparison."""

    name: str
    flags: str
    """As in the file."""
    recipe: Recipe
    """With the seed 0; each of its runs has another one."""
    where: str
    """The file, the line and the name, for messages."""
    teacher: Path | None = None
    """The run that labels the unlabeled images, for all seeds."""

    def seeded(self, seed: int) -> Recipe:
        """Return the recipe of one of its runs."""
        return replace(self.recipe, seed=seed)


def run_name(variant: str, seed: int) -> str:
    """Return the name of the directory, within ``RUNS``, of a variant's run."""
    return f"{variant}-seed-{seed}"


def read_variants(path: Path) -> tuple[Variant, ...]:
    """Read the variants of a file.

    Raises:
        UserError: Naming all lines that are wrong.
    """
    variants: list[Variant] = []
    mistakes: list[UserError] = []
    for number, line in enumerate(_read(path).splitlines(), start=1):
        if line.strip() and not line.lstrip().startswith("#"):
            try:
                variant = _variant(line, f"{path}, line {number}")
                _check_new(variant, variants)
                variants.append(variant)
            except UserError as error:
                mistakes.append(error)
    refuse(mistakes)
    if len(variants) < 2:
        raise UserError(
            f"{path} has {'one variant' if variants else 'no variant'}",
            "two variants or more, the first of which the others are compared with, each in a line NAME: FLAGS",
            "add lines, such as `dice-all: --recipe best --loss.dice-on all`",
        )
    return tuple(variants)


def refuse(mistakes: Sequence[UserError]) -> None:
    """Raise the mistakes of all variants as one.

    Raises:
        UserError: When there is a mistake.
    """
    if len(mistakes) == 1:
        raise mistakes[0]
    if mistakes:
        raise UserError(
            f"{len(mistakes)} mistakes: {'; '.join(f'{each.found} (expected {each.expected})' for each in mistakes)}",
            "variants that can be trained",
            "; ".join(dict.fromkeys(each.action for each in mistakes)),
        )


def _read(path: Path) -> str:
    expected, action = "a text file with a variant in each line, NAME: FLAGS", "correct --variants"
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise UserError(f"{path} has more than {MAX_BYTES} bytes", expected, action)
        return content.decode("utf-8-sig")
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}", expected, action) from None
    except UnicodeDecodeError:
        raise UserError(f"{path} is not UTF-8", expected, action) from None


def _variant(line: str, where: str) -> Variant:
    name, colon, flags = (part.strip() for part in line.partition(":"))
    if not colon or not NAME.fullmatch(name):
        raise UserError(
            f"{where}: {line.strip()[:60]}",
            "NAME: FLAGS, the name of letters, digits, hyphens, underscores and dots, at most 60",
            "correct the line",
        )
    named = f"{where}, variant {name}"
    try:
        words = shlex.split(flags)
    except ValueError as error:
        raise UserError(f"{named}: {error}", "flags as in a shell, every quote closed", "correct the line") from None
    recipe, teacher = _recipe(words, named)
    return Variant(name=name, flags=flags, recipe=recipe, where=named, teacher=teacher)


@config_dataclass
class _Named:
    """The flags beside those of the recipe's fields."""

    recipe: str = recipe_flags.DEFAULT
    teacher: Path | None = None


def _recipe(words: Sequence[str], where: str) -> tuple[Recipe, Path | None]:
    """Parse the flags of a line as job/train.py does."""
    if any(re.fullmatch(r"--seed(=.*)?", word) for word in words):
        raise UserError(
            f"{where}: --seed", "the same seeds for all variants: --seeds of the command", "take it out of the line"
        )
    errors = io.StringIO()
    try:
        named = recipe_flags.named_recipe(words)

        def both(
            first: Annotated[_Named, tyro.conf.arg(name="")],
            recipe: Annotated[Recipe, tyro.conf.arg(name="")] = named,
        ) -> tuple[Recipe, Path | None]:
            return recipe, first.teacher

        with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(io.StringIO()):
            return cli.parse(
                both,
                words,
                prog="job/train.py",
                description=None,
                renamed=recipe_flags.RENAMED_FLAGS,
                mistaken=recipe_flags.MISTAKEN_FLAGS,
            )
    except UserError as error:
        raise UserError(f"{where}: {error.found}", error.expected, "correct the line") from None
    except SystemExit:
        # Of the parser, which has told why in a box.
        raise UserError(
            f"{where}: {_told(errors.getvalue()) or ' '.join(words)}",
            "flags of a recipe, which job/train.py --help lists, with values that they accept",
            "correct the line",
        ) from None


def _told(box: str) -> str:
    """Return what the parser's box says above its first inner rule."""
    lines = [line.strip("│| ") for line in box.splitlines()[1:] if line]
    above = itertools.takewhile(lambda line: not _is_rule(line), itertools.dropwhile(_is_rule, lines))
    return " ".join(above)


def _is_rule(line: str) -> bool:
    return not line.strip("─-╭╮╰╯+ ")


def _check_new(variant: Variant, earlier: Sequence[Variant]) -> None:
    for other in earlier:
        # Their runs are directories, on a file system that may ignore case.
        if other.name.casefold() == variant.name.casefold():
            raise UserError(f"{variant.where} is there twice", "a name of its own for each variant", "rename one")
        if (other.recipe, other.teacher) == (variant.recipe, variant.teacher):
            raise UserError(
                f"{variant.where} has the same recipe as {other.name}",
                "variants that differ in a flag",
                "correct or remove one",
            )
