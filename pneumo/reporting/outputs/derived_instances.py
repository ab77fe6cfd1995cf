"""DICOM instances that are made of images: in a series of their own in the study of the source, with its patient.

highdicom makes them of a stand-in for the source that has no patient: it checks names, and quotes them in warnings.
"""

import io
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from copy import deepcopy
from pathlib import Path
from typing import NamedTuple

import highdicom
from pydicom import config
from pydicom.dataset import Dataset
from pydicom.uid import SecondaryCaptureImageStorage

from pneumo.inference.ensembler import PredictedImage
from pneumo.reporting.outputs import source_header
from pneumo.reporting.outputs.context import OutputContext
from pneumo.reporting.outputs.source_header import CannotBeReferredTo
from pneumo.runtime.console import log
from pneumo.runtime.errors import counted
from pneumo.runtime.files import publish

DESCRIPTION = "Pneumothorax by pneumo, not for clinical use"
CHANGED = "not valid DICOM in the source, and left empty or mended in what repeats it: "
"""Beginning of a note; the names of the elements follow."""
PRIVATE_MODE = 0o600
MULTI_FRAME = tuple(f"1.2.840.10008.5.1.4.1.1.{suffix}" for suffix in ("7.", "12.1", "12.2", "13.1"))
"""Beginnings of the SOP classes of X-ray images with frames that can be referred to: secondary capture, angiography,
fluoroscopy, their enhanced forms. Some files of other classes have several frames all the same."""


class Place(NamedTuple):
    """Where an instance is."""

    header: Dataset
    """Of its source, from ``source_header.read``."""
    series_uid: str
    number: int
    """In the series, from 1."""


class DerivedInstances:
    """The instances that one output writes into a directory.

    Args:
        path: The directory.
        context: Has the images' files.
        what: What an instance is called in notes.
    """

    def __init__(self, path: Path, context: OutputContext, what: str) -> None:
        self._path, self._context, self._what = path, context, what
        self._series: dict[str, str] = {}
        self._numbers: Counter[str] = Counter()
        self._without: Counter[str] = Counter()

    def add(self, image: PredictedImage, make: Callable[[Place], Dataset]) -> None:
        """Make and publish the instance of an image, which only this user can read; or note why it has none."""
        try:
            data = _encode(make, self._place(image))
        except CannotBeReferredTo as reason:
            self._context.notes[image.prediction.image_id].append(f"no {self._what}: {reason}")
            self._without[str(reason)] += 1
            return
        path = self._path / f"{self._context.table.wds_key[image.row]}.dcm"
        with publish(path) as file:
            file.write(data)
        path.chmod(PRIVATE_MODE)

    def warn(self) -> None:
        """Warn about images without an instance."""
        if self._without:
            log.warning(
                "%s: %s without one, most often because %s; findings.csv says it of each",
                self._path.name, counted(self._without.total(), "image is", "images are"),
                self._without.most_common(1)[0][0],
            )  # fmt: skip

    def _place(self, image: PredictedImage) -> Place:
        header = self._read_header(image)
        study = header.StudyInstanceUID
        self._numbers[study] += 1
        return Place(header, self._series.setdefault(study, highdicom.UID()), self._numbers[study])

    def _read_header(self, image: PredictedImage) -> Dataset:
        if not self._context.table.transfer_syntax[image.row]:
            raise CannotBeReferredTo("the source is a PNG or JPEG file")
        header, changed = source_header.read(self._context.sources[image.prediction.image_id])
        if (header.Rows, header.Columns) != image.mask.shape:
            raise CannotBeReferredTo("the file was changed meanwhile")
        self._note_changes(image.prediction.image_id, changed)
        return header

    def _note_changes(self, image_id: str, changed: Sequence[str]) -> None:
        """Note which elements are not repeated as they are: by name, since the notes have nothing of a patient."""
        note = f"{CHANGED}{', '.join(changed)}"
        # Another kind of instance may have noted it.
        if changed and note not in self._context.notes[image_id]:
            self._context.notes[image_id].append(note)


def _encode(make: Callable[[Place], Dataset], place: Place) -> bytes:
    """Return the file of an instance.

    Raises:
        CannotBeReferredTo: When highdicom refuses something of the source's header: one file must not end a prediction.
    """
    data = io.BytesIO()
    try:
        with config.disable_value_validation():
            make(place).save_as(data, enforce_file_format=True)
    except Exception as error:  # it checks what it is given, which may be anything; the message may quote it
        raise CannotBeReferredTo(f"its header is not accepted ({type(error).__name__})") from None
    return data.getvalue()


def stand_in(header: Dataset) -> Dataset:
    """Return a source as highdicom takes it: without a patient, one frame, of a SOP class that its tables have."""
    source = deepcopy(header)
    for keyword in source_header.IDENTITY:
        setattr(source, keyword, "")
    source.SOPClassUID = SecondaryCaptureImageStorage
    for keyword in ("PixelSpacing", "NumberOfFrames"):
        source.pop(keyword, None)
    return source


def add_identity(instance: Dataset, header: Dataset) -> None:
    """Give an instance the patient and the study of its source, and how the patient is turned in it."""
    for keyword in (*source_header.IDENTITY, "PatientOrientation"):
        setattr(instance, keyword, header.get(keyword, ""))


def add_reference(items: Iterable[Dataset], header: Dataset) -> None:
    """Let references name the source's own SOP class, and of several frames the first, which is the predicted one."""
    for item in items:
        item.ReferencedSOPClassUID = header.SOPClassUID
        if "NumberOfFrames" in header and str(header.SOPClassUID).startswith(MULTI_FRAME):
            item.ReferencedFrameNumber = 1
