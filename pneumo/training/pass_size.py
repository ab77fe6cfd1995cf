"""How many of a rank's micro-batches go through the network in one forward pass: a matter of speed and memory alone.

On a CPU each has a pass of its own. A GPU waits for launches with a few images, so that it gets as many as keep it busy
and its memory holds: the first step at each image size is done one by one, and what it took of the memory decides about
the next ones.
"""

import torch
from torch import nn

from pneumo.distributed.collectives import Group
from pneumo.modeling.ghost_batch_norm import normalize_by_groups, why_one_group
from pneumo.runtime.errors import UserError
from pneumo.training.recipe import Recipe

SHARE = 0.8
"""Fraction of the free memory to fill: a larger pass has larger work areas, and memory has gaps."""

MOST_PIXELS = 16 * 512**2
"""Pixels of a pass that keep a GPU busy. On an H200, 8 images of 512 px in one pass are 1.28 times as fast as in two
(U-Net SE-ResNeXt50) or as fast (ResNet34), and 32 in one pass .93 and .95 times as fast as in two: normalizing by
groups then costs more than launches."""


class PassSize:
    """Chooses the micro-batches of a forward pass; if there may be several, normalizes by groups.

    Args:
        model: The network on the CPU, in training mode.
        recipe: What to train.
        group: The ranks that share a step.
        images_at_once: Images of a forward pass, a multiple of the micro-batch; 0 = choose.

    Raises:
        UserError: When the network needs a pass for each micro-batch, and ``images_at_once`` is more.
    """

    def __init__(self, model: nn.Module, recipe: Recipe, group: Group, images_at_once: int) -> None:
        self.group, self.measures = group, images_at_once == 0 and group.device.type == "cuda"
        self.micro_batch_size = recipe.micro_batch_size
        share = -(-recipe.micro_batches // group.size)
        asked = share if self.measures else max(images_at_once // recipe.micro_batch_size, 1)
        self.most = min(asked, share)
        if self.most > 1:
            self._normalize_by_groups(model, recipe, images_at_once)
        self._chosen: dict[int, int] = {}
        self._before = 0

    def _normalize_by_groups(self, model: nn.Module, recipe: Recipe, images_at_once: int) -> None:
        reason = why_one_group(model)
        if not reason:
            normalize_by_groups(model, recipe.micro_batch_size)
        elif self.measures:
            self.most = 1
        else:
            raise UserError(
                f"--images-at-once {images_at_once} with {recipe.model.encoder}: {reason}",
                f"its --micro-batch-size {recipe.micro_batch_size}, as the result would be another",
                "leave out --images-at-once",
            )

    def begin_step(self, image_size: int) -> int:
        """Return the micro-batches of each forward pass of a step; the last one may have fewer."""
        if not self.measures or self.most == 1:
            return self.most
        if self._useful(image_size) == 1:
            return 1
        if image_size not in self._chosen:
            torch.cuda.reset_peak_memory_stats(self.group.device)
            self._before = torch.cuda.memory_allocated(self.group.device)
        return self._chosen.get(image_size, 1)

    def end_step(self, image_size: int) -> None:
        """Choose for the next steps, if this was the first one at its image size. Collective then."""
        if self.measures and self._useful(image_size) > 1 and image_size not in self._chosen:
            device = self.group.device
            taken = torch.cuda.max_memory_allocated(device) - self._before
            unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
            count = affordable(taken, torch.cuda.mem_get_info(device)[0] + unused, self._useful(image_size))
            # The smallest of the ranks'.
            self._chosen[image_size] = -int(self.group.largest(-count))

    def _useful(self, image_size: int) -> int:
        """Return how many micro-batches at once can be faster than one by one."""
        return min(self.most, max(1, MOST_PIXELS // (self.micro_batch_size * image_size**2)))


def affordable(taken: int, free: int, most: int) -> int:
    """Return how many micro-batches fit into memory at once, from 1 to ``most``.

    Args:
        taken: Bytes that one took, with the gradients, which are there once; so it is rather too much.
        free: Bytes that are free without it.
        most: More are not needed.
    """
    return max(1, min(most, int(SHARE * free / max(taken, 1))))
