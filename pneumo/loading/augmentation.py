"""Augmentation parameters: a pure function of (seed, epoch, position), drawn by a counter-based generator.

A loader only applies them, so that a resumed or re-sharded run sees the same pictures, and two loaders can be held
against each other. Each sample gets one affine matrix (letterbox, flip, shift, scale and rotation in one), one tone
curve, and at most one distortion. The set is that of the competition's 1st place (sneddy, 2019).
"""

from dataclasses import dataclass
from typing import Annotated, Literal, get_args

import numpy as np
from annotated_types import Interval

from pneumo.loading.geometry import Matrix, letterbox, square
from pneumo.runtime.config import config_dataclass
from pneumo.runtime.ranges import Fraction, FractionBelowOne

Distortion = Literal["elastic", "grid", "optical"]

STREAM = 2
"""Second half of the generator's key, which keeps these draws apart from the sampler's of the same seed."""


@config_dataclass(flag_prefix="augmentation.")
class Augmentation:
    """Probabilities and ranges of the random changes to a training image."""

    hflip: Fraction = 0.5
    """Probability of a left-right flip."""
    affine: Fraction = 0.5
    """Probability of a shift, scale and rotation about the centre."""
    translate: FractionBelowOne = 0.0625
    """Largest shift in either direction, as a share of the image's size."""
    scale: FractionBelowOne = 0.1
    """Largest change of scale: factors 1 - scale to 1 + scale."""
    rotate_deg: Annotated[float, Interval(ge=0, le=180)] = 45.0
    """Largest rotation in either direction, in degrees."""
    intensity: Fraction = 0.3
    """Probability of one change of tone: contrast, gamma or brightness, with equal chances."""
    contrast: FractionBelowOne = 0.2
    """Largest change of contrast: values times 1 - contrast to 1 + contrast."""
    gamma: FractionBelowOne = 0.2
    """Largest change of gamma: values to the power of 1 - gamma to 1 + gamma."""
    brightness: FractionBelowOne = 0.2
    """Largest change of brightness, added to values in [0, 1]."""
    distortion: Fraction = 0.0
    """Probability of an elastic, grid or optical distortion, with equal chances (OpenCV loader only)."""


@dataclass(frozen=True, eq=False, kw_only=True)
class AugmentationParameters:
    """What is done to one sample."""

    matrix: Matrix
    """(2, 3) float64: network to source pixel centres (see geometry)."""
    gamma: float = 1.0
    """Tone curve: values in [0, 1] become ``clip(gain * value**gamma + bias, 0, 1)``."""
    contrast: float = 1.0
    """Factor of the tone curve."""
    brightness: float = 0.0
    """Summand of the tone curve."""
    distortion: Distortion | None = None
    """Distortion of the network's image after the warp, or None."""
    distortion_seed: int = 0
    """Seed of the distortion's own draws."""


def identity(rows: int, columns: int, size: int) -> AugmentationParameters:
    """Return the parameters of validation: the letterbox and nothing else."""
    return AugmentationParameters(matrix=letterbox(rows, columns, size).matrix)


def draw(
    config: Augmentation, *, seed: int, epoch: int, position: int, rows: int, columns: int, size: int
) -> AugmentationParameters:
    """Draw one sample's parameters.

    Every draw is made whether it is needed or not, so that a change of one probability leaves the others' draws
    as they are.

    Args:
        config: Probabilities and ranges.
        seed: The run's seed, 0 or more.
        epoch: Number of the epoch from 0, counted over all stages.
        position: The sample's place in the epoch's order.
        rows: Height of the source in pixels.
        columns: Width of the source in pixels.
        size: Height and width of the network's input in pixels.
    """
    # The lowest word counts the generator's own blocks; epoch and position keep their words to themselves.
    generator = np.random.Generator(np.random.Philox(key=[seed, STREAM], counter=[0, position, epoch, 0]))
    chance, place, tone = generator.random(4), generator.uniform(-1, 1, 4), generator.uniform(-1, 1, 3)
    tone_kind, distortion_kind = generator.integers(3, size=2)
    distortion_seed = int(generator.integers(2**31))
    flip, affine, toned, distorted = chance < (config.hflip, config.affine, config.intensity, config.distortion)
    change = _about_centre(config, size, bool(flip), place if affine else np.zeros(4))
    gain, gamma, bias = 1.0, 1.0, 0.0
    if toned and tone_kind == 0:
        gain += config.contrast * float(tone[0])
    elif toned and tone_kind == 1:
        gamma += config.gamma * float(tone[1])
    elif toned:
        bias += config.brightness * float(tone[2])
    return AugmentationParameters(
        matrix=(square(letterbox(rows, columns, size).matrix) @ change)[:2],
        gamma=gamma,
        contrast=gain,
        brightness=bias,
        distortion=get_args(Distortion)[distortion_kind] if distorted else None,
        distortion_seed=distortion_seed,
    )


def _about_centre(config: Augmentation, size: int, flip: bool, place: np.ndarray) -> Matrix:
    """Return the (3, 3) matrix from the augmented network image to the plain one.

    Args:
        config: Ranges.
        size: Height and width of the network's input in pixels.
        flip: Mirror left and right.
        place: (4,) in [-1, 1]: x shift, y shift, scale and rotation as shares of their ranges; all 0 is exact.
    """
    centre = (size - 1) / 2
    shift = place[:2] * config.translate * size
    factor = 1 / (1 + config.scale * place[2])
    angle = np.deg2rad(config.rotate_deg * place[3])
    cosine, sine = factor * np.cos(angle), factor * np.sin(angle)
    mirror = -1.0 if flip else 1.0
    linear = np.array([[cosine * mirror, -sine], [sine * mirror, cosine]])
    return square(np.column_stack([linear, centre - linear @ (centre + shift)]))
