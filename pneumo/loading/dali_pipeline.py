"""The DALI pipeline: decode, downsample until the size is below twice the network's, warp. Nothing in it is random.

On a GPU it decodes with nvJPEG; on a CPU DALI's CPU operators run, which keeps the pipeline testable there.
"""

from collections.abc import Callable
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pneumo.loading.geometry import Matrix, downsample_factor, downsampled_shape, scale_matrix, to_corner_coordinates

# Not an import statement: DALI exists for Linux only, and its type stubs lack some of its constants.
dali = import_module("nvidia.dali")
fn, types = dali.fn, dali.types

Inputs = tuple[list[npt.NDArray[Any]], ...]


class PipelineShape(NamedTuple):
    """What a pipeline is built for."""

    samples: int
    """Largest batch."""
    downsample_steps: int
    """Steps of a factor of 2 before the warp, as many as the largest source needs."""


class SampleInputs(NamedTuple):
    """A pipeline's inputs for one sample."""

    file: npt.NDArray[np.uint8]
    """(bytes,) JPEG or PNG file."""
    matrix: npt.NDArray[np.float32]
    """(2, 3) network to downsampled source coordinates, from the first pixel's corner."""
    size: npt.NDArray[np.float32]
    """(2,) height and width of the network's input in pixels."""
    downsampled: npt.NDArray[np.float32]
    """(steps, 2) heights and widths after each step."""
    extents: npt.NDArray[np.float32]
    """(steps, 2) extents of each step's input, beyond its far edges where a side is odd."""


def sample_inputs(
    file: npt.NDArray[np.uint8], shape: tuple[int, int], matrix: Matrix, *, size: int, steps: int
) -> SampleInputs:
    """Return a sample's inputs.

    Args:
        file: (bytes,) JPEG or PNG file.
        shape: (rows, columns) of the source.
        matrix: (2, 3) network to source pixel centers.
        size: Height and width of the network's input in pixels.
        steps: Downsampling steps of the pipeline.
    """
    factor = downsample_factor(*shape, size)
    downsampled, extents = downsample_sizes(*shape, factor, steps)
    return SampleInputs(
        file=file,
        matrix=to_corner_coordinates(scale_matrix(matrix, factor)).astype(np.float32),
        size=np.full(2, size, np.float32),
        downsampled=downsampled,
        extents=extents,
    )


def batch_inputs(samples: list[SampleInputs], shape: PipelineShape) -> Inputs:
    """Return a batch's inputs as a pipeline of this shape takes them: one list for each field."""
    columns = tuple(list(column) for column in zip(*samples, strict=True))
    # DALI warns of inputs that nothing uses.
    return columns if shape.downsample_steps else columns[:3]


def downsample_sizes(
    rows: int, columns: int, factor: int, steps: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return the steps by which a sample is downsampled.

    Args:
        rows: Height of the source in pixels.
        columns: Width of the source in pixels.
        factor: 1, 2, 4 or 8.
        steps: Steps of the pipeline, at least as many as the factor needs.

    Returns:
        (steps, 2) heights and widths after each step, and (steps, 2) the extents of each step's input that they
        cover, beyond its far edges where a side is odd. Steps that the sample does not need change nothing.
    """
    sizes, extents = np.empty((steps, 2), np.float32), np.empty((steps, 2), np.float32)
    for step in range(steps):
        by = 2 if 2 << step <= factor else 1
        rows, columns = downsampled_shape(rows, columns, by)
        sizes[step], extents[step] = (rows, columns), (rows * by, columns * by)
    return sizes, extents


def build_pipeline(source: Callable[[], Inputs], shape: PipelineShape, device_id: int | None, threads: int) -> Any:
    """Return a pipeline from a source of ``batch_inputs`` to images of (size, size, 1) float32 in [0, 1]."""
    pipeline = dali.Pipeline(batch_size=shape.samples, num_threads=threads, device_id=device_id, prefetch_queue_depth=2)
    with pipeline:
        dimensions = [1, 2, 1, 2, 2] if shape.downsample_steps else [1, 2, 1]
        files, matrix, size, *downsampling = fn.external_source(
            source=source,
            num_outputs=len(dimensions),
            dtype=[types.UINT8] + [types.FLOAT] * (len(dimensions) - 1),
            ndim=dimensions,
        )
        image = _decode(files, device_id)
        for step in range(shape.downsample_steps):
            sizes, extents = downsampling
            # Two pixels to one by linear interpolation without further smoothing is their exact average.
            image = fn.resize(
                image,
                size=sizes[step],
                roi_start=[0.0, 0.0],
                roi_end=extents[step],
                interp_type=types.INTERP_LINEAR,
                antialias=False,
            )
        pipeline.set_outputs(
            fn.warp_affine(image, matrix=matrix, size=size, fill_value=0.0, interp_type=types.INTERP_LINEAR)
        )
    pipeline.build()
    return pipeline


def can_decode(file: npt.NDArray[np.uint8], device_id: int | None) -> bool:
    """Return whether DALI decodes a JPEG or PNG file, (bytes,)."""
    pipeline = dali.Pipeline(batch_size=1, num_threads=1, device_id=device_id, prefetch_queue_depth=1)
    with pipeline:
        pipeline.set_outputs(_decode(fn.external_source(source=lambda: [file], dtype=types.UINT8, ndim=1), device_id))
    pipeline.build()
    try:
        pipeline.run()
    except RuntimeError:
        return False
    return True


def _decode(files: Any, device_id: int | None) -> Any:
    """Add the decoder: float in [0, 1] of 8-bit and 16-bit files alike, (rows, columns, 1)."""
    return fn.decoders.image(
        files,
        device="cpu" if device_id is None else "mixed",
        output_type=types.GRAY,
        dtype=types.FLOAT,
        # An orientation tag in the file would rotate the image but not its mask.
        adjust_orientation=False,
    )
