"""As many DICOM files as a test of size needs, made of fewer: the same frames under ids of their own."""

from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path

from pneumo.dataset.options import BuildInputs
from pneumo.dicom import files, image_file
from pneumo.dicom.rejection import FileRejectedError
from pneumo.masks import annotations
from pneumo.runtime.errors import UserError
from pneumo.runtime.files import publish_csv

FIRST = 100_000
"""Number of the first file: with six digits and no zero in front, it ends a UID that is as long as before."""
MOST = 900_000
"""Files that can be told apart by such a number."""


def multiply(inputs: BuildInputs, directory: Path, count: int) -> BuildInputs:
    """Write files with other SOP Instance UIDs, each in a directory of its own like the competition's, and their masks.

    Args:
        inputs: Whose files of frames are copied in turns; each has a SOP Instance UID of ten or more characters.
        directory: Where to write them.
        count: How many, at most ``MOST``.
    """
    assert count <= MOST
    assert inputs.masks is not None
    masks = annotations.read_masks(inputs.masks)
    sources = list(_labeled(inputs.dicom, masks))
    if not sources:
        raise UserError(f"{inputs.dicom} has no DICOM image of {inputs.masks}", "one or more", "correct --masks")
    rows = []
    for number in range(FIRST, FIRST + count):
        image_id, data = sources[number % len(sources)]
        uid = f"{image_id[: -len(str(number))]}{number}"
        place = directory / "dicom" / str(number) / str(number)
        place.mkdir(parents=True)
        (place / f"{uid}.dcm").write_bytes(data.replace(image_id.encode(), uid.encode()))
        rows.append((uid, masks[image_id]))
    publish_csv(directory / "masks.csv", ("ImageId", "EncodedPixels"), rows)
    return BuildInputs(dicom=directory / "dicom", masks=directory / "masks.csv")


def _labeled(directory: Path, masks: Collection[str]) -> Iterator[tuple[str, bytes]]:
    """Yield the id and the bytes of each DICOM image that has a mask; the build leaves the other files out, too."""
    for path in files.find(directory):
        with suppress(FileRejectedError):
            header = image_file.scan(path)
            if header.image_id in masks and not header.is_picture:
                yield header.image_id, path.read_bytes()
