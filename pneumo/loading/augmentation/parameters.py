"""One sample's augmentation: a pure function of (seed, epoch, position).

A loader only applies the parameters. So a resumed run, or one on another number of ranks, sees the same pictures, and
two loaders can be compared pixel by pixel.
"""

import hashlib
import threading
from dataclasses import dataclass
from functools import cache

import numpy as np

from pneumo.loading.augmentation.registry import RNG_SCHEME, Augmentation
from pneumo.loading.augmentation.transforms import PixelTransform
from pneumo.loading.geometry import Matrix, homogeneous, letterbox

STREAM = 2
"""Second half of the generator's key, which keeps these draws apart from the sampler's of the same seed."""

_THREAD = threading.local()
_EMPTY_BUFFER = np.zeros(4, np.uint64)


@dataclass(frozen=True, eq=False, kw_only=True)
class AugmentationParameters:
    """What is done to one sample: one warp, then changes of its pixels."""

    matrix: Matrix
    """(2, 3) float64: network to source pixel centers (see geometry)."""
    pixel_transforms: tuple[PixelTransform, ...] = ()
    """What is applied to the image and the mask after the warp, in order."""


def identity(rows: int, columns: int, size: int) -> AugmentationParameters:
    """Return the parameters of validation: the letterbox only."""
    return AugmentationParameters(matrix=letterbox(rows, columns, size).matrix)


def draw(
    augmentation: Augmentation,
    *,
    seed: int,
    epoch: int,
    position: int,
    rows: int,
    columns: int,
    size: int,
    crop_size: int | None = None,
) -> AugmentationParameters:
    """Draw one sample's parameters.

    Args:
        augmentation: Probabilities and ranges.
        seed: The run's seed, 0 or more.
        epoch: Number of the epoch from 0, counted over all stages.
        position: The sample's position in the epoch's order.
        rows: Height of the source in pixels.
        columns: Width of the source in pixels.
        size: Height and width of the letterboxed image in pixels, the network's input if there is no crop.
        crop_size: Height and width of the part of it that is the network's input; None = all of it.
    """
    assert augmentation.rng_scheme == RNG_SCHEME, "a run of another scheme is not resumed"
    matrix, pixel_transforms = homogeneous(letterbox(rows, columns, size).matrix), []
    for name, active in augmentation.active():
        generator = _generator(name, seed, epoch, position)
        if generator.random() < active.probability:
            drawn = active.draw(generator, size)
            if isinstance(drawn, PixelTransform):
                pixel_transforms.append(drawn)
            else:
                matrix = matrix @ drawn
    if crop_size is not None:
        # Last, so that it is a part of the image as the others have changed it.
        matrix = matrix @ draw_crop(_generator("crop", seed, epoch, position), size, crop_size)
    return AugmentationParameters(matrix=matrix[:2], pixel_transforms=tuple(pixel_transforms))


def draw_crop(generator: np.random.Generator, size: int, crop_size: int) -> Matrix:
    """Draw which part of an image is seen, uniformly over whole pixels; return the (3, 3) matrix from it to the image.

    Args:
        generator: For this sample.
        size: Height and width of the image in pixels.
        crop_size: Height and width of the part in pixels.
    """
    x, y = generator.integers(0, size - crop_size, size=2, endpoint=True)
    return np.array([[1.0, 0.0, x], [0.0, 1.0, y], [0.0, 0.0, 1.0]])


def _generator(name: str, seed: int, epoch: int, position: int) -> np.random.Generator:
    """Return an augmentation's own generator for one sample: no other augmentation changes what it draws.

    It is the thread's only one, moved to that place: a new Philox takes six times as long, as it asks the system for
    random bytes even if it is given a key. So it is of use until the next call in the same thread.
    """
    if not hasattr(_THREAD, "generator"):
        _THREAD.generator = np.random.Generator(np.random.Philox(0))
    # The lowest word counts the generator's own blocks; position, epoch and augmentation have a word each.
    counter = np.array([0, position, epoch, _counter_word(name)], np.uint64)
    _THREAD.generator.bit_generator.state = {
        "bit_generator": "Philox",
        "state": {"counter": counter, "key": np.array([seed, STREAM], np.uint64)},
        "buffer": _EMPTY_BUFFER,
        "buffer_pos": len(_EMPTY_BUFFER),
        "has_uint32": 0,
        "uinteger": 0,
    }
    return _THREAD.generator  # type: ignore[no-any-return]


@cache
def _counter_word(name: str) -> int:
    word = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")
    # numpy makes floats of a list with a number of 2**63 or more. The first draws were made so, and all must stay.
    return int(np.array([0, word]).astype(np.uint64)[1])
