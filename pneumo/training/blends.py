"""Named blends: lists of recipes that one command trains and averages."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class BlendMember:
    """One run of a blend."""

    recipe: str
    """Its named recipe, and the name of its directory in that of the blend."""
    weight: float
    """Weight of the run in the mean, in proportion to those of the others."""


def winner_blend() -> tuple[BlendMember, ...]:
    """The 1st place's final submission: four experiments, of which its best on the public leaderboard counts double."""
    return (
        BlendMember(recipe="winner-resnet34-even", weight=0.4),
        BlendMember(recipe="winner-resnet34", weight=0.2),
        BlendMember(recipe="winner-se_resnext50", weight=0.2),
        BlendMember(recipe="winner-resnet50", weight=0.2),
    )


BLENDS: dict[str, Callable[[], tuple[BlendMember, ...]]] = {"winner-blend": winner_blend}
"""Every named blend, for ``--recipe``."""
