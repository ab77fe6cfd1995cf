"""The changes of a module that mutation testing tries: one place each, and as it could be by mistake (cosmic-ray)."""

import difflib
import hashlib
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

OPERATORS = (
    "NumberReplacer",
    *(f"ReplaceBinaryOperator_{pair}" for pair in ("Add_Sub", "Sub_Add", "Mul_Div", "Div_Mul", "Pow_Mul")),
    *(f"ReplaceBinaryOperator_{pair}" for pair in ("FloorDiv_Mul", "Mod_FloorDiv", "LShift_RShift", "RShift_LShift")),
    *(f"ReplaceBinaryOperator_{pair}" for pair in ("BitAnd_BitOr", "Sub_Div")),
    *(f"ReplaceComparisonOperator_{pair}" for pair in ("Lt_LtE", "LtE_Lt", "Gt_GtE", "GtE_Gt")),
    *(f"ReplaceComparisonOperator_{pair}" for pair in ("Eq_NotEq", "NotEq_Eq", "Is_IsNot", "IsNot_Is")),
    *(f"ReplaceUnaryOperator_{pair}" for pair in ("USub_UAdd", "Delete_Invert", "Delete_Not")),
    *("AddNot", "ReplaceAndWithOr", "ReplaceOrWithAnd", "ReplaceTrueWithFalse", "ReplaceFalseWithTrue"),
)
"""Numbers one larger and one smaller, the edges and opposites of comparisons, the inverses of arithmetic, conditions.
Cruder changes of the same places are noticed when these are. Not the ``|`` of type annotations."""


@dataclass(frozen=True)
class Change:
    """A module with one place changed."""

    module: Path
    code: str
    """The whole module after the change."""
    line: int
    """The line of the place, from 1."""
    diff: str
    """The changed lines, before (-) and after (+)."""

    @property
    def digest(self) -> str:
        """What tells this change from all others, of other versions of the module, too."""
        return hashlib.sha256(f"{self.module}\n{self.code}".encode()).hexdigest()


def changes(root: Path, module: Path) -> Iterator[Change]:
    """Yield each change of a module, its path relative to the repository's root."""
    from cosmic_ray.ast import ast_nodes, get_ast
    from cosmic_ray.mutating import mutate_code
    from cosmic_ray.plugins import get_operator

    code, seen = (root / module).read_text(), set()
    for name in OPERATORS:
        operator = get_operator(f"core/{name}")()
        places = [(node, place) for node in ast_nodes(get_ast(code)) for place in operator.mutation_positions(node)]
        for occurrence, (node, (start, _)) in enumerate(places):
            changed = None if _is_left_alone(node) else mutate_code(code, operator, occurrence)
            if changed is not None and changed not in seen and _is_python(changed):
                seen.add(changed)
                lines = difflib.unified_diff(code.splitlines(), changed.splitlines(), n=0, lineterm="")
                yield Change(module, changed, start[0], "\n".join(list(lines)[3:]))


def _is_left_alone(node: Any) -> bool:
    """Return whether a place is no mathematics: in ``@dataclass(frozen=True)``, or the star of ``def f(*, x)``."""
    if node.type == "operator" and node.parent.type in ("parameters", "param", "lambdef"):
        return True
    while node.parent is not None and node.type != "decorator":
        node = node.parent
    return node.parent is not None


def _is_python(code: str) -> bool:
    try:
        compile(code, "", "exec")
    except SyntaxError:
        return False
    return True


def sample(every: list[Change], count: int | None, seed: int) -> list[Change]:
    """Draw changes of a module; a larger sample of the same seed contains a smaller one."""
    shuffled = list(every)
    random.Random(f"{seed} {every[0].module}" if every else seed).shuffle(shuffled)
    return shuffled[:count]
