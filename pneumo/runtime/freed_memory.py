"""Keeps memory that is freed, for who allocates it again: on a CPU, training frees and takes the same at every step.

glibc gives large blocks back to the system at once (``mmap``, ``munmap``), and the system clears every page that is
taken again: a tenth of a training step. The peak is the same.
"""

import ctypes

# malloc.h
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3
LARGEST_BLOCK = 2**30
"""Bytes: larger blocks still go back at once."""
KEPT = 2**31 - 1
"""Bytes at the end of the heap that are kept, the most that an int can say."""
STEP = 2**26
"""Bytes by which the heap grows."""


def keep_freed_memory() -> bool:
    """Keep freed memory from now on in this process; return whether the C library can (glibc can, musl cannot)."""
    return _set(LARGEST_BLOCK, KEPT, STEP)


def give_back_freed_memory() -> bool:
    """Do what glibc does by itself once a program has freed large blocks; for comparisons."""
    return _set(2**25, 2**26, 2**17)


def _set(largest_block: int, kept: int, step: int) -> bool:
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    settings = ((M_MMAP_THRESHOLD, largest_block), (M_TRIM_THRESHOLD, kept), (M_TOP_PAD, step))
    return all(mallopt(parameter, value) == 1 for parameter, value in settings)
