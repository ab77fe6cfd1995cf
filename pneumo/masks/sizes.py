"""Whether the masks of a CSV can be those of their images, by what is known of the images' sizes."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from pneumo.masks import geometry, rle
from pneumo.runtime.errors import UserError, counted

Shapes = Mapping[str, tuple[int, int]]
"""Rows and columns of each image, in pixels."""

SIIM_SHAPE = 1024, 1024
"""Rows and columns of every image of SIIM-ACR."""
_SIMILAR = 1 / 16
"""By how much of it the estimated number of rows may differ for one image."""


def check_ends(path: Path, masks: Mapping[str, str], shapes: Shapes) -> None:
    """Check that no mask ends beyond its image.

    Args:
        path: The file of the masks, for the message.
        masks: Run lengths by image id.
        shapes: The images' sizes; masks of other images are not checked.

    Raises:
        UserError: When one does; names the image that it exceeds the most.
    """
    excess = {
        image_id: _end(text) / (shapes[image_id][0] * shapes[image_id][1])
        for image_id, text in masks.items()
        if image_id in shapes
    }
    beyond = [image_id for image_id, share in excess.items() if share > 1]
    if beyond:
        worst = max(beyond, key=excess.__getitem__)
        raise UserError(
            f"{path}: {len(beyond)} of {counted(len(excess), 'mask')} beyond the end of the image, worst "
            + _describe_end(worst, masks[worst], shapes[worst]),
            "run lengths of the images in their own size",
            geometry.ABSOLUTE_ACTION
            if geometry.find_problem(masks[worst], *shapes[worst]) == geometry.ABSOLUTE
            else "resize the masks before they are encoded, or check that the file belongs to these images",
        )


def describe_misfits(path: Path, masks: Mapping[str, str], shapes: Shapes) -> Iterator[str]:
    """Yield a line when masks that end within their image are probably not of an image of its size."""
    found = {
        image_id: note
        for image_id, text in masks.items()
        if image_id in shapes and (note := geometry.find_problem(text, *shapes[image_id]))
    }
    if found:
        largest = max(found, key=lambda image_id: _area(masks[image_id]))
        positive = sum(text != rle.EMPTY for text in masks.values())
        yield (
            f"{path}: {len(found)} of {counted(positive, 'mask')} probably not of the image's size, the largest "
            f"{largest}: {found[largest]}"
        )


def compare(truth: Mapping[str, str], predicted: Mapping[str, str]) -> Iterator[str]:
    """Yield what contradicts that two files are of images of one size, where the images' sizes are not known.

    Args:
        truth: Run lengths by image id.
        predicted: Those of the same images.
    """
    yield from _compare_ends(truth, predicted)
    yield from _compare_rows(truth, predicted)


def _compare_ends(truth: Mapping[str, str], predicted: Mapping[str, str]) -> Iterator[str]:
    """Yield a line when predictions end beyond all true masks, and beyond an image of SIIM-ACR."""
    pixels = SIIM_SHAPE[0] * SIIM_SHAPE[1]
    largest = max(map(_end, truth.values()), default=0)
    ends = {image_id: _end(text) for image_id, text in predicted.items()}
    beyond = [image_id for image_id, end in ends.items() if end > max(largest, pixels)]
    if not beyond:
        return
    worst = max(beyond, key=ends.__getitem__)
    what = counted(len(beyond), "prediction ends", "predictions end")
    if largest > pixels:
        yield f"{what} beyond pixel {largest}, the last of all true masks, worst {worst}"
    else:
        yield (
            f"{what} beyond an image of SIIM-ACR, and no true mask does, worst "
            + _describe_end(worst, predicted[worst], SIIM_SHAPE)
        )


def _compare_rows(truth: Mapping[str, str], predicted: Mapping[str, str]) -> Iterator[str]:
    """Yield a line when the runs of true and predicted masks are apart as in images of different sizes."""
    found: dict[str, tuple[int, int]] = {}
    for image_id, text in truth.items():
        rows = geometry.find_rows(text), geometry.find_rows(predicted[image_id])
        if all(rows) and abs(rows[0] - rows[1]) > max(rows) * _SIMILAR:
            found[image_id] = rows
    if found:
        largest = max(found, key=lambda image_id: _area(truth[image_id]))
        rows = found[largest]
        yield (
            f"{counted(len(found), 'prediction is', 'predictions are')} probably of an image of another size than the "
            f"true mask, the largest {largest}: runs {rows[1]} pixels apart, those of the truth {rows[0]}"
        )


def _describe_end(image_id: str, text: str, shape: tuple[int, int]) -> str:
    """Return where a mask ends, in which image, and the likely cause."""
    rows, columns = shape
    cause = geometry.find_problem(text, rows, columns)
    end = f"{image_id}: it ends at pixel {_end(text)} of {rows * columns} ({rows} x {columns})"
    return f"{end}; {cause}" if cause else end


def _end(text: str) -> int:
    runs = rle.parse(text)
    return int(runs[-1].sum()) if len(runs) else 0


def _area(text: str) -> int:
    return int(rle.parse(text)[:, 1].sum())
