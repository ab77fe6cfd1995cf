"""Run lengths of the images that a decision rule calls positive; of the others no mask is made."""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from pneumo.inference.components import remove_small_components
from pneumo.inference.decision_rule import DecisionRule, mask_bin
from pneumo.inference.deferred import Copy, behind
from pneumo.inference.prediction import Counted
from pneumo.masks import rle


class EncodedMask(NamedTuple):
    """The mask of one image."""

    counted: Counted
    """The batch that the image is in."""
    position: int
    """Where in it."""
    rle: str
    """Run lengths in the format of a submission."""
    area: int
    """Pixels of the mask."""

    @property
    def row(self) -> int:
        """Row of the sample table."""
        return self.counted.batch.rows[self.position]


def encode_batches(
    batches: Iterable[Counted],
    rule_of: Callable[[int], DecisionRule | None],
    device: torch.device,
    *,
    min_component: float = 0.0,
) -> Iterator[EncodedMask]:
    """Yield the mask of each image, in order.

    Args:
        batches: The predictions, counted.
        rule_of: Returns the rule for a row of the sample table; None leaves the image out.
        device: Where the predictions are.
        min_component: Connected components smaller than this are removed, in pixels of a 1024x1024 image.
    """
    for counted, masks in behind(((counted, _start_masks(counted, rule_of)) for counted in batches), device):
        for i, copy in masks.items():
            yield _encode(counted, i, copy, min_component)


@torch.inference_mode()
def _start_masks(counted: Counted, rule_of: Callable[[int], DecisionRule | None]) -> dict[int, Copy | None]:
    """Return the masks by index: None for an empty one, which is not made."""
    masks: dict[int, Copy | None] = {}
    for i, row in enumerate(counted.batch.rows):
        rule = rule_of(row)
        if rule is not None:
            first = mask_bin(rule, counted.counts[i].sum(axis=0), counted.presence[i])
            masks[i] = Copy(counted.batch.bins(i) >= first) if first else None
    return masks


def _encode(counted: Counted, index: int, copy: Copy | None, min_component: float) -> EncodedMask:
    if copy is None:
        return EncodedMask(counted, index, rle.EMPTY, 0)
    mask: npt.NDArray[np.uint8] = copy.wait()[0].numpy().view(np.uint8)
    if min_component > 0:
        mask = remove_small_components(mask, min_component)
    return EncodedMask(counted, index, rle.encode(mask), int(np.count_nonzero(mask)))
