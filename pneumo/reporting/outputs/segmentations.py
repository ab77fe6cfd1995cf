"""segmentations/: the mask of each positive DICOM as a DICOM Segmentation (SEG, PS3.3 A.51) that refers to its source.

It has the source's matrix: a pixel of the mask is the pixel of the same row and column of the source, whichever way the
patient is turned in it. So that an archive files it with the source, it has the source's patient and study: only this
user can read the files.
"""

from pathlib import Path

import highdicom
import numpy as np
import numpy.typing as npt
from highdicom.seg import SegmentAlgorithmTypeValues, Segmentation, SegmentationTypeValues, SegmentDescription
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from pneumo import __version__
from pneumo.inference.ensembler import PredictedImage
from pneumo.reporting.outputs.context import OutputContext
from pneumo.reporting.outputs.derived_instances import (
    DESCRIPTION,
    DerivedInstances,
    Place,
    add_identity,
    add_reference,
    stand_in,
)

CATEGORY = Code("49755003", "SCT", "Morphologically Abnormal Structure")
"""PS3.16 CID 7150, Segmentation Property Category."""
PNEUMOTHORAX = Code("36118008", "SCT", "Pneumothorax")
ALGORITHM_FAMILY = Code("123110", "DCM", "Artificial Intelligence")
"""PS3.16 CID 7162."""
SERIES_NUMBER = 9001
"""Behind those that a modality numbers."""
NOMINAL_THICKNESS_MM = 1.0
"""A projection has no slices. The standard asks for a thickness in volumes alone (PS3.3 C.7.6.16.2.1), but readers want
one beside the pixel spacing, highdicom's own too, and some divide by it."""


class Segmentations:
    """Writes the segmentation of each positive image when it comes, and notes why an image has none.

    Args:
        path: Their directory.
        context: Has the images' files.
    """

    def __init__(self, path: Path, context: OutputContext) -> None:
        self._instances, self._rule = DerivedInstances(path, context, "DICOM SEG"), context.rule

    def add(self, image: PredictedImage) -> None:
        """Write one segmentation."""
        if image.prediction.mask_area:
            self._instances.add(image, lambda place: _make(place, image.mask, self._rule))

    def close(self) -> None:
        """Warn about images without a segmentation."""
        self._instances.warn()


def _make(place: Place, mask: npt.NDArray[np.uint8], rule: str) -> Segmentation:
    """Make the segmentation of one image.

    Args:
        place: Where it is to be.
        mask: (rows, columns), 0 or 1, of the source's first frame.
        rule: The decision rule in words.
    """
    segmentation = Segmentation(
        source_images=[stand_in(place.header)],
        pixel_array=mask.astype(bool),
        segmentation_type=SegmentationTypeValues.BINARY,
        segment_descriptions=[_describe_segment(rule)],
        series_instance_uid=place.series_uid,
        series_number=SERIES_NUMBER,
        sop_instance_uid=highdicom.UID(),
        instance_number=place.number,
        manufacturer="pneumo",
        manufacturer_model_name="pneumo",
        software_versions=__version__,
        device_serial_number=__version__,
        content_label="PNEUMOTHORAX",
        content_description=DESCRIPTION,
        series_description=DESCRIPTION,
        pixel_measures=_pixel_measures(place.header),
        specific_character_set="ISO_IR 192",
    )
    add_identity(segmentation, place.header)
    (derivation,) = segmentation.PerFrameFunctionalGroupsSequence[0].DerivationImageSequence
    add_reference([*segmentation.SourceImageSequence, *derivation.SourceImageSequence], place.header)
    # A reference to the instance alone, which has no frame number.
    (instance,) = segmentation.ReferencedSeriesSequence[0].ReferencedInstanceSequence
    instance.ReferencedSOPClassUID = place.header.SOPClassUID
    return segmentation


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
