"""secondary_captures/: the overlay of each positive DICOM, or of every one, as a DICOM that any viewer shows.

A Secondary Capture (PS3.3 A.8.1) with the outline and its caption drawn into the pixels, for viewers without
segmentations. Like these it has the source's patient and study, and only this user can read the files.
"""

from pathlib import Path

import highdicom
import numpy as np
import numpy.typing as npt
from highdicom.sc import SCImage
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from pneumo import __version__
from pneumo.inference.ensembler import PredictedImage
from pneumo.reporting import overlays
from pneumo.reporting.outputs.context import OutputContext
from pneumo.reporting.outputs.derived_instances import (
    DESCRIPTION,
    DerivedInstances,
    Place,
    add_identity,
    add_reference,
    stand_in,
)
from pneumo.reporting.outputs.overlay_pictures import panel_of

SERIES_NUMBER = 9002
MIN_SIDE, MAX_SIDE = 768, 2048
"""Longer side of a picture in pixels: the source's within these."""


class SecondaryCaptures:
    """Writes the overlay of each image when it comes, and notes why an image has none.

    Args:
        path: Their directory.
        context: Has the images' files, and whether images without a mask are drawn.
    """

    def __init__(self, path: Path, context: OutputContext) -> None:
        self._instances, self._context = DerivedInstances(path, context, "DICOM Secondary Capture"), context

    def add(self, image: PredictedImage) -> None:
        """Write one overlay."""
        if image.prediction.mask_area or self._context.all_overlays:
            side = min(max(*image.mask.shape, MIN_SIDE), MAX_SIDE)
            picture = overlays.draw(panel_of(image, self._context), side)
            # From OpenCV's order of colors.
            self._instances.add(image, lambda place: _make(place, np.ascontiguousarray(picture[:, :, ::-1])))

    def close(self) -> None:
        """Warn about images without an overlay."""
        self._instances.warn()


def _make(place: Place, picture: npt.NDArray[np.uint8]) -> SCImage:
    """Make the Secondary Capture of a picture (rows, columns, 3) in red, green, blue."""
    capture = SCImage.from_ref_dataset(
        stand_in(place.header),
        pixel_array=picture,
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        patient_orientation=("L", "F"),  # replaced below by that of the source, which may be unknown
        series_instance_uid=place.series_uid,
        series_number=SERIES_NUMBER,
        sop_instance_uid=highdicom.UID(),
        instance_number=place.number,
        manufacturer="pneumo",
        manufacturer_model_name="pneumo",
        software_versions=__version__,
        series_description=DESCRIPTION,
        transfer_syntax_uid=ExplicitVRLittleEndian,
        specific_character_set="ISO_IR 192",
    )
    add_identity(capture, place.header)
    capture.Laterality = ""
    capture.DerivationDescription = "Outline of a pneumothorax predicted by pneumo; not for clinical use"
    reference = Dataset()
    reference.ReferencedSOPInstanceUID = place.header.SOPInstanceUID
    add_reference([reference], place.header)
    capture.SourceImageSequence = [reference]
    for keyword in ("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod"):
        if keyword in place.header:
            capture[keyword] = place.header[keyword]
    return capture
