"""The registry of augmentations. The set is that of the competition's 1st place (sneddy, 2019).

To add one: write a module beside this one that defines a ``RandomTransform``, and enter it as a field of
``Augmentation``.
"""

import dataclasses
from collections.abc import Iterator
from dataclasses import field
from functools import cached_property
from typing import Annotated

import tyro
from annotated_types import Interval

from pneumo.loading.augmentation.affine import Affine
from pneumo.loading.augmentation.distortion import Distortion
from pneumo.loading.augmentation.flip import Flip
from pneumo.loading.augmentation.intensity import Intensity
from pneumo.loading.augmentation.transforms import RandomTransform
from pneumo.runtime.config import config_dataclass

RNG_SCHEME = 2
"""How this version draws its random numbers; raise it whenever an existing augmentation draws otherwise."""


@config_dataclass(flag_prefix="augmentation.")
class Augmentation:
    """The augmentations, in the order in which they are applied; each is drawn independently of the others."""

    flip: Flip = field(default_factory=Flip)
    affine: Affine = field(default_factory=Affine)
    intensity: Intensity = field(default_factory=Intensity)
    distortion: Distortion = field(default_factory=Distortion)

    rng_scheme: tyro.conf.Suppress[Annotated[int, Interval(ge=1, le=RNG_SCHEME)]] = RNG_SCHEME
    """How random numbers are drawn, recorded with a run: 1 = all augmentations drew from one generator in turn, 2 =
    each has its own. A run of another scheme than this version's is not resumed."""

    def active(self) -> Iterator[tuple[str, RandomTransform]]:
        """Yield the name and configuration of each augmentation whose probability is above 0."""
        yield from self._active

    @cached_property
    def _active(self) -> tuple[tuple[str, RandomTransform], ...]:
        entries = [(entry.name, getattr(self, entry.name)) for entry in dataclasses.fields(self)]
        return tuple((name, one) for name, one in entries if isinstance(one, RandomTransform) and one.probability > 0)
