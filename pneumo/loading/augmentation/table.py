"""The table of augmentations, and one sample's parameters: a pure function of (seed, epoch, position).

A loader only applies the parameters. So a resumed run, or one on another number of ranks, sees the same pictures, and
two loaders can be compared pixel by pixel. The set is that of the competition's 1st place (sneddy, 2019).
"""

import dataclasses
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Annotated

import numpy as np
import tyro
from annotated_types import Interval

from pneumo.loading.augmentation.affine import Affine
from pneumo.loading.augmentation.distortion import Distortion
from pneumo.loading.augmentation.flip import Flip
from pneumo.loading.augmentation.intensity import Intensity
from pneumo.loading.augmentation.transforms import PixelTransform, RandomTransform
from pneumo.loading.geometry import Matrix, homogeneous, letterbox
from pneumo.runtime.config import config_dataclass

STREAM = 2
"""Second half of the generator's key, which keeps these draws apart from the sampler's of the same seed."""


DRAWS = 2
"""Scheme by which this version draws; raise it whenever an existing augmentation draws otherwise."""


@config_dataclass(flag_prefix="augmentation.")
class Augmentation:
    """The augmentations, in the order in which they are applied; each is drawn independently of the others."""

    flip: Flip = field(default_factory=Flip)
    affine: Affine = field(default_factory=Affine)
    intensity: Intensity = field(default_factory=Intensity)
    distortion: Distortion = field(default_factory=Distortion)

    draws: tyro.conf.Suppress[Annotated[int, Interval(ge=1, le=DRAWS)]] = DRAWS
    """Scheme of the random draws, recorded with a run: 1 = all augmentations drew from one generator in turn, 2 = each
    has its own. A run of another scheme than this version's is not resumed."""

    def active(self) -> Iterator[tuple[str, RandomTransform]]:
        """Yield the name and configuration of each augmentation whose probability is above 0."""
        for entry in dataclasses.fields(self):
            augmentation = getattr(self, entry.name)
            if isinstance(augmentation, RandomTransform) and augmentation.probability > 0:
                yield entry.name, augmentation


@dataclass(frozen=True, eq=False, kw_only=True)
class AugmentationParameters:
    """What is done to one sample: one warp, then changes of its pixels."""

    matrix: Matrix
    """(2, 3) float64: network to source pixel centers (see geometry)."""
    pixel_transforms: tuple[PixelTransform, ...] = ()
    """What is applied to the image and the mask after the warp, in order."""


def identity(rows: int, columns: int, size: int) -> AugmentationParameters:
    """Return the parameters of validation: the letterbox alone."""
    return AugmentationParameters(matrix=letterbox(rows, columns, size).matrix)


def draw(
    augmentation: Augmentation, *, seed: int, epoch: int, position: int, rows: int, columns: int, size: int
) -> AugmentationParameters:
    """Draw one sample's parameters.

    Args:
        augmentation: Probabilities and ranges.
        seed: The run's seed, 0 or more.
        epoch: Number of the epoch from 0, counted over all stages.
        position: The sample's position in the epoch's order.
        rows: Height of the source in pixels.
        columns: Width of the source in pixels.
        size: Height and width of the network's input in pixels.
    """
    assert augmentation.draws == DRAWS, "a run of another scheme is not resumed"
    matrix, pixel_transforms = homogeneous(letterbox(rows, columns, size).matrix), []
    for name, active in augmentation.active():
        generator = _generator(name, seed, epoch, position)
        if generator.random() < active.probability:
            drawn = active.draw(generator, size)
            if isinstance(drawn, PixelTransform):
                pixel_transforms.append(drawn)
            else:
                matrix = matrix @ drawn
    return AugmentationParameters(matrix=matrix[:2], pixel_transforms=tuple(pixel_transforms))


def _generator(name: str, seed: int, epoch: int, position: int) -> np.random.Generator:
    """Return an augmentation's own generator for one sample: no other augmentation changes what it draws."""
    # The lowest word counts the generator's own blocks; position, epoch and augmentation have a word each.
    counter = [0, position, epoch, _counter_word(name)]
    return np.random.Generator(np.random.Philox(key=[seed, STREAM], counter=counter))


@cache
def _counter_word(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")
