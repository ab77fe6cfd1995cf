"""segmentations/: the mask of each positive DICOM as a DICOM Segmentation (SEG, PS3.3 A.51) that refers to its source.

It has the source's matrix: a pixel of the mask is the pixel of the same row and column of the source, whichever way the
patient is turned in it. So that an archive files it with the source, it has the source's patient and study: only this
user can read the files.
"""

from collections import Counter
from copy import deepcopy
from pathlib import Path

import highdicom
import numpy as np
import numpy.typing as npt
from highdicom.seg import SegmentAlgorithmTypeValues, Segmentation, SegmentationTypeValues, SegmentDescription
from pydicom import config
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code
from pydicom.uid import SecondaryCaptureImageStorage

from pneumo import __version__
from pneumo.inference.ensembler import PredictedImage
from pneumo.reporting.outputs import source_header
from pneumo.reporting.outputs.context import OutputContext
from pneumo.reporting.outputs.source_header import CannotBeReferredTo
from pneumo.runtime.console import log
from pneumo.runtime.errors import counted
from pneumo.runtime.files import publish

CATEGORY = Code("49755003", "SCT", "Morphologically Abnormal Structure")
"""PS3.16 CID 7150, Segmentation Property Category."""
PNEUMOTHORAX = Code("36118008", "SCT", "Pneumothorax")
ALGORITHM_FAMILY = Code("123110", "DCM", "Artificial Intelligence")
"""PS3.16 CID 7162."""
SERIES_NUMBER = 9001
"""Behind those that a modality numbers."""
DESCRIPTION = "Pneumothorax by pneumo, not for clinical use"
NOMINAL_THICKNESS_MM = 1.0
"""A projection has no slices. The standard asks for a thickness in volumes alone (PS3.3 C.7.6.16.2.1), but readers want
one beside the pixel spacing, highdicom's own too, and some divide by it."""
PRIVATE_MODE = 0o600


class Segmentations:
    """Writes the segmentation of each positive image when it comes.

    Args:
        path: Their directory.
        context: Has the images' files.
    """

    def __init__(self, path: Path, context: OutputContext) -> None:
        self._path, self._context = path, context
        self._series: dict[str, str] = {}
        self._instances: Counter[str] = Counter()
        self._without = 0

    def add(self, image: PredictedImage) -> None:
        """Write one segmentation; note why an image has none."""
        image_id = image.prediction.image_id
        if image.prediction.mask_area == 0:
            return
        try:
            header = self._read_header(image)
        except CannotBeReferredTo as reason:
            self._context.notes[image_id].append(f"no DICOM SEG: {reason}")
            self._without += 1
            return
        study = header.StudyInstanceUID
        self._instances[study] += 1
        segmentation = make(
            header,
            image.mask,
            series_uid=self._series.setdefault(study, highdicom.UID()),
            number=self._instances[study],
            rule=self._context.rule,
        )
        write(self._path / f"{self._context.table.wds_key[image.row]}.dcm", segmentation)

    def close(self) -> None:
        """Warn about images without a segmentation."""
        if self._without:
            log.warning(
                "%s: %s without one; findings.csv says why",
                self._path.name, counted(self._without, "positive image is", "positive images are"),
            )  # fmt: skip

    def _read_header(self, image: PredictedImage) -> Dataset:
        if not self._context.table.transfer_syntax[image.row]:
            raise CannotBeReferredTo("the source is a PNG or JPEG file")
        header = source_header.read(self._context.sources[image.prediction.image_id])
        if (header.Rows, header.Columns) != image.mask.shape:
            raise CannotBeReferredTo("the file was changed meanwhile")
        return header


def make(header: Dataset, mask: npt.NDArray[np.uint8], *, series_uid: str, number: int, rule: str) -> Segmentation:
    """Make the segmentation of one image.

    Args:
        header: Of the source, from ``source_header.read``.
        mask: (rows, columns), 0 or 1, of the source's first frame.
        series_uid: Series Instance UID of the segmentation.
        number: Its number in the series, from 1.
        rule: The decision rule in words.
    """
    with config.disable_value_validation():
        segmentation = Segmentation(
            source_images=[_stand_in(header)],
            pixel_array=mask.astype(bool),
            segmentation_type=SegmentationTypeValues.BINARY,
            segment_descriptions=[_describe_segment(rule)],
            series_instance_uid=series_uid,
            series_number=SERIES_NUMBER,
            sop_instance_uid=highdicom.UID(),
            instance_number=number,
            manufacturer="pneumo",
            manufacturer_model_name="pneumo",
            software_versions=__version__,
            device_serial_number=__version__,
            content_label="PNEUMOTHORAX",
            content_description=DESCRIPTION,
            series_description=DESCRIPTION,
            pixel_measures=_pixel_measures(header),
            specific_character_set="ISO_IR 192",
        )
        for keyword in (*source_header.IDENTITY, "PatientOrientation"):
            setattr(segmentation, keyword, header.get(keyword, ""))
        _refer_to(header, segmentation)
    return segmentation


def write(path: Path, instance: Dataset) -> None:
    """Publish a DICOM file that only this user can read."""
    with publish(path) as file, config.disable_value_validation():
        instance.save_as(file, enforce_file_format=True)
    path.chmod(PRIVATE_MODE)


def _stand_in(header: Dataset) -> Dataset:
    """Return the source as highdicom takes it: one frame, and of a SOP class that its tables have.

    The patient is left out: highdicom checks names, and quotes them in warnings.
    """
    source = deepcopy(header)
    for keyword in source_header.IDENTITY:
        setattr(source, keyword, "")
    source.SOPClassUID = SecondaryCaptureImageStorage
    for keyword in ("PixelSpacing", "NumberOfFrames"):
        source.pop(keyword, None)
    return source


def _refer_to(header: Dataset, segmentation: Segmentation) -> None:
    """Give the references the source's own SOP class, and of several frames the first, which is the predicted one."""
    references = [
        *segmentation.ReferencedSeriesSequence[0].ReferencedInstanceSequence,
        *segmentation.SourceImageSequence,
        *segmentation.PerFrameFunctionalGroupsSequence[0].DerivationImageSequence[0].SourceImageSequence,
    ]
    for reference in references:
        reference.ReferencedSOPClassUID = header.SOPClassUID
    if "NumberOfFrames" in header:
        for reference in references[1:]:
            reference.ReferencedFrameNumber = 1


def _describe_segment(rule: str) -> SegmentDescription:
    return SegmentDescription(
        segment_number=1,
        segment_label="Pneumothorax",
        segmented_property_category=CATEGORY,
        segmented_property_type=PNEUMOTHORAX,
        algorithm_type=SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=highdicom.AlgorithmIdentificationSequence(
            name="pneumo", family=ALGORITHM_FAMILY, version=__version__, source="pneumo", parameters={"rule": rule}
        ),
    )


def _pixel_measures(header: Dataset) -> highdicom.PixelMeasuresSequence | None:
    if "PixelSpacing" not in header:
        return None
    return highdicom.PixelMeasuresSequence(list(header.PixelSpacing), slice_thickness=NOMINAL_THICKNESS_MM)
