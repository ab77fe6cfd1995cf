"""The submission of an ensemble: a dataset's test images predicted, checked and published from rank 0."""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from pneumo.dataset.shard_reader import REPAIR_HINT, ShardReader
from pneumo.distributed.world import World
from pneumo.inference.ensembler import Ensembler
from pneumo.loading.damaged import find_damaged
from pneumo.masks import annotations, rle, submission
from pneumo.runtime.console import log
from pneumo.runtime.errors import UserError, counted
from pneumo.runtime.files import publish_text, remove_temporary_files
from pneumo.runtime.recorded import free_target, publish_recorded


def write_submission(
    ensembler: Ensembler,
    out: Path,
    *,
    expected: Path | None = None,
    skip_damaged: bool = False,
    recorded: bool = False,
) -> Path:
    """Predict the dataset's test images, and publish a checked submission from rank 0. Collective over all ranks.

    Args:
        ensembler: Predicts the images of its dataset.
        out: The file to write.
        expected: CSV with the ids, and their order, that the submission must have; by default the dataset's.
        skip_damaged: Give damaged test images an empty mask, with a warning: a submission must have a row for each,
            and empty is right for most images. Without it the first such image is an error.
        recorded: Whether a later call must know the file again (``recorded.check_recorded``).

    Returns:
        The file that was written: a recorded one that somebody has changed meanwhile is left as it is.

    Raises:
        UserError: When there are no test images that can be used, or the ids are not the expected ones.
    """
    reader, world = ensembler.mean.reader, ensembler.mean.world
    table = reader.table
    rows = table.select("test")
    if not len(rows):
        raise UserError(
            f"{reader.dataset} has no test images", "test images", "build a dataset with job/shard.py --test-dicom"
        )
    expected_ids = world.on_leader(lambda: None if expected is None else annotations.read_ids(expected))
    damaged = _find_test_images(reader, rows, world, ensembler.mean.workers) if skip_damaged else []
    predictions = ensembler.run(rows[~np.isin(rows, damaged)])

    def publish() -> Path:
        masks = dict.fromkeys(table.image_id[rows].tolist(), rle.EMPTY) | {p.image_id: p.rle for p in predictions}
        ordered = list(masks.items())
        if expected_ids is not None:
            ordered = submission.order_rows(masks, expected_ids, log.warning)
        target = free_target(out) if recorded else out
        # The directory may hold any other files of the user's.
        remove_temporary_files(out.parent, out.name)
        write = publish_recorded if recorded else publish_text
        submission.write(target, ordered, table.shapes(rows), expected=expected_ids, publish=write)
        positive = sum(mask != rle.EMPTY for _, mask in ordered)
        images = counted(len(ordered), "image")
        log.info("%s: %s, %d positive (%s)", target, images, positive, ensembler.rule.describe())
        return target

    return world.on_leader(publish)


def _find_test_images(reader: ShardReader, rows: npt.NDArray[np.int64], world: World, workers: int) -> list[int]:
    """Return the rows of damaged test images, and log a warning for each. Collective over all ranks."""
    found = find_damaged(reader, rows, world, workers=workers)
    if len(found) == len(rows):
        raise UserError(
            f"none of {counted(len(rows), 'test image')} can be used, first: {next(iter(found.values()))}",
            "whole images",
            REPAIR_HINT,
        )
    for reason in found.values() if world.is_leader else ():
        log.warning("damaged test image, NOT predicted, gets an empty mask: %s", reason)
    return list(found)
