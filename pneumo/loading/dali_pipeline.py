"""The DALI pipeline: it decodes, and nothing else.

On a GPU it decodes with nvJPEG; on a CPU DALI's CPU operators run, which keeps the pipeline testable there.
"""

from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np
import numpy.typing as npt

# Not an import statement: DALI exists for Linux only, and its type stubs lack some of its constants.
dali = import_module("nvidia.dali")
fn, types = dali.fn, dali.types

Files = list[npt.NDArray[np.uint8]]
"""JPEG or PNG files, (bytes,) each."""


def build_pipeline(source: Callable[[], Files], samples: int, device_id: int | None, threads: int) -> Any:
    """Return a pipeline from a source of at most ``samples`` files to their images, (rows, columns, 1) in [0, 1]."""
    return _build(source, samples, device_id, threads, prefetch=2)


def can_decode(file: npt.NDArray[np.uint8], device_id: int | None) -> bool:
    """Return whether DALI decodes a JPEG or PNG file, (bytes,)."""
    pipeline = _build(lambda: [file], 1, device_id, 1, prefetch=1)
    try:
        pipeline.run()
    except RuntimeError:
        return False
    return True


def _build(source: Callable[[], Files], samples: int, device_id: int | None, threads: int, *, prefetch: int) -> Any:
    pipeline = dali.Pipeline(
        batch_size=samples, num_threads=threads, device_id=device_id, prefetch_queue_depth=prefetch
    )
    with pipeline:
        files = fn.external_source(source=source, dtype=types.UINT8, ndim=1)
        image = fn.decoders.image(
            files,
            device="cpu" if device_id is None else "mixed",
            output_type=types.GRAY,
            # 8-bit and 16-bit files alike; their levels come out of it exactly.
            dtype=types.FLOAT,
            # An orientation tag in the file would rotate the image but not its mask.
            adjust_orientation=False,
        )
        pipeline.set_outputs(image)
    pipeline.build()
    return pipeline
