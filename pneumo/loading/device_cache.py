"""Decoded images that stay on the device from their first use on, so that none is decoded again.

Memory is taken in pieces, and only while a quarter of the device's is free after that: what the network needs, which
the first steps show, and what other processes have on the device come first. When no piece can be had any more, the
images that have no place yet are decoded at each use; the batches are the same.
"""

import torch
from torch import Tensor

from pneumo.runtime.console import log

PIECE_BYTES = 64 * 2**20
"""Size of a piece; an image that is larger gets its own."""
FREE_SHARE = 0.25
"""Share of the device's memory that is left free."""
_ALIGNMENT = 16
"""Bytes between the beginnings of images are a multiple of this, for reading them as 16-bit values."""


class DeviceCache:
    """Images by their row and downsampling factor. Threads may look for images while one thread adds them.

    Args:
        device: Where the images are.
        max_bytes: Largest size in all; without it, on a GPU, what the rule of this module gives.
    """

    def __init__(self, device: torch.device, max_bytes: int | None = None) -> None:
        assert max_bytes is not None or device.type == "cuda", "a CPU's memory is not shared out by this rule"
        self.device, self.max_bytes = device, max_bytes
        self.clear()

    def clear(self) -> None:
        """Forget all images; their memory is torch's again once no batch uses it."""
        self._images: dict[tuple[int, int], Tensor] = {}
        self._piece = torch.empty(0, dtype=torch.uint8, device=self.device)
        self._used = 0
        self.bytes = 0
        """What the cache has taken."""
        self.is_full = False
        """Whether an image found no place."""

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self._images)

    def get(self, row: int, factor: int) -> Tensor | None:
        """Return an image, (rows, columns) uint8 or uint16 and not to be changed, or None when it is not here."""
        return self._images.get((row, factor))

    def put(self, row: int, factor: int, image: Tensor) -> None:
        """Copy an image into the cache if it is not there and has a place; the host does not wait for the copy."""
        if (row, factor) in self._images or self.is_full:
            return
        size = image.numel() * image.element_size()
        begin = -(-self._used // _ALIGNMENT) * _ALIGNMENT
        if begin + size > len(self._piece):
            if not self._take_piece(max(PIECE_BYTES, size)):
                self.is_full = True
                return
            begin = 0
        self._used = begin + size
        place = self._piece[begin : self._used].view(image.dtype).view(image.shape)
        place.copy_(image, non_blocking=True)
        self._images[row, factor] = place

    def _take_piece(self, size: int) -> bool:
        """Begin another piece of memory; return False when there is none for it."""
        if not self._has_room(size):
            log.info(
                "the cache of decoded images is full at %.1f GiB (%d images); others are decoded at each use",
                self.bytes / 2**30,
                len(self),
            )
            return False
        self._piece = torch.empty(size, dtype=torch.uint8, device=self.device)
        self.bytes += size
        return True

    def _has_room(self, size: int) -> bool:
        if self.max_bytes is not None:
            return self.bytes + size <= self.max_bytes
        free, total = torch.cuda.mem_get_info(self.device)
        return free - size >= FREE_SHARE * total
