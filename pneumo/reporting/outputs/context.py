"""What the outputs of a prediction know beside the images."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

from pneumo.dataset.field_of_view import area_mm2
from pneumo.dataset.shard_reader import ShardReader
from pneumo.dataset.table import SampleTable
from pneumo.dicom.attributes import AT_DETECTOR
from pneumo.dicom.opening import Location
from pneumo.inference.ensembler import PredictedImage


@dataclass(frozen=True, kw_only=True)
class OutputContext:
    """One prediction: where its images come from, and by what they are predicted."""

    reader: ShardReader
    """Of the images. An output that is closed has its table only: the images are deleted already."""
    sources: Mapping[str, Location]
    """The file of each image, by its id."""
    lists: Mapping[str, str]
    """The text of quarantine.csv and left_out.csv: what is not predicted."""
    account: str
    """How many files became what, in a sentence."""
    model: str
    """The run or the exported model."""
    rule: str
    """The decision rule in words."""
    cautions: Sequence[str] = ()
    """What readers of the results must know of the networks."""
    all_overlays: bool = False
    """Whether images without a mask get a picture, too."""
    notes: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    """What an output has to say about an image, by its id: collected until the outputs are closed."""

    @property
    def table(self) -> SampleTable:
        """The images, in the order of the reader's rows."""
        return self.reader.table

    @cached_property
    def _pixel_areas_mm2(self) -> npt.NDArray[np.float64]:
        # Once: whether a spacing can be right is a question to all images.
        number = len(self.table)
        return area_mm2(self.table, np.arange(number), np.ones(number, np.int64))

    def area_mm2(self, image: PredictedImage) -> float:
        """Return the area of an image's mask in square millimeters; NaN when the pixel spacing is unknown or wrong.

        It is that on the detector where :meth:`is_at_detector` says so, and larger there than in the patient.
        """
        return image.prediction.mask_area * float(self._pixel_areas_mm2[image.row])

    def is_at_detector(self, image: PredictedImage) -> bool:
        """Return whether an image's pixel spacing is that of the detector."""
        return AT_DETECTOR in str(self.table.render_notes[image.row]).split("; ")
