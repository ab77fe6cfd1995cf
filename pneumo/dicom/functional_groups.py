"""Display elements of the first frame in functional groups, PS3.3 C.7.6.16.

Objects of the enhanced classes have no window, rescale or lookup table at the top level. They have them in a sequence
for all frames and in one with an item for each frame; what is given for a frame counts.
"""

from pydicom.dataset import Dataset
from pydicom.tag import BaseTag

from pneumo.dicom.values import first_item, tags

GROUP_ELEMENTS = tags(("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"))
_SEQUENCES = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
_MACROS = {
    "FrameVOILUTSequence": tags(("WindowCenter", "WindowWidth", "VOILUTFunction", "VOILUTSequence")),
    "PixelValueTransformationSequence": tags(("RescaleSlope", "RescaleIntercept", "ModalityLUTSequence")),
}
"""Frame VOI LUT, with or without a table (C.7.6.16.2.10), and Pixel Value Transformation (C.7.6.16.2.9)."""


def merge_first_frame(dataset: Dataset) -> None:
    """Put the display elements of the first frame to the top level of the dataset, in place of those there.

    Raises:
        FileRejectedError: When an element that should be a sequence is none.
    """
    for keyword in _SEQUENCES:
        group = first_item(dataset, keyword)
        if group is not None:
            for macro, elements in _MACROS.items():
                _merge(dataset, first_item(group, macro), elements)


def _merge(dataset: Dataset, item: Dataset | None, elements: frozenset[BaseTag]) -> None:
    if item is None:
        return
    for tag in elements:
        dataset.pop(tag, None)
        if tag in item:
            dataset[tag] = item.get_item(tag)
