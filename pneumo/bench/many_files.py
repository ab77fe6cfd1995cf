"""As many DICOM files as a test of size needs, made of fewer: the same frames under ids of their own."""

from pathlib import Path

from pneumo.dataset.options import BuildInputs
from pneumo.dicom import files, image_file
from pneumo.masks import annotations
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
    sources = [(image_file.scan(path).image_id, path.read_bytes()) for path in files.find(inputs.dicom)]
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
