"""How often images are decided wrongly: missed lesions, false alarms, and where false alarms are frequent.

A chest drain is the known confounder of pneumothorax: treated patients have one, and a network may learn to see the
drain. No label says which images show one, unless somebody has looked and noted it. What is known is which images are
of one patient: an image without a pneumothorax of a patient who has one in another image may have been taken
after treatment.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pneumo.dataset.patients import number_patients
from pneumo.inference.bootstrap import interval
from pneumo.inference.histograms import PredictionHistograms
from pneumo.inference.metrics import Interval95
from pneumo.inference.nested import NestedEstimate

OTHER_IMAGES = ("another image has a pneumothorax", "other images, none has one", "no other image is known")
"""Groups of images by the other images of their patients."""


@dataclass(frozen=True, kw_only=True)
class Rate:
    """How often something happens among images."""

    count: int
    images: int
    patients: int
    interval: Interval95
    """95 % bootstrap interval of the share, over patients."""

    @property
    def share(self) -> float:
        """Return the share of the images."""
        return self.count / self.images


def rate(happens: npt.NDArray[np.bool_], patients: npt.NDArray[np.int64]) -> Rate | None:
    """Return how often something happens; None without images.

    Args:
        happens: (n,) whether it does in an image.
        patients: (n,) patient of each image, by any numbers.
    """
    if not len(happens):
        return None
    numbers = np.unique(patients, return_inverse=True)[1].astype(np.int64)
    count, of_patients = int(happens.sum()), int(numbers.max()) + 1
    if 0 < count < len(happens):
        ends = interval(happens.astype(np.float64), numbers)
    else:
        ends = _interval_of_none_or_all(count > 0, of_patients)
    return Rate(count=count, images=len(happens), patients=of_patients, interval=ends)


def _interval_of_none_or_all(is_all: bool, patients: int) -> Interval95:
    """Return the exact interval of a share that is 0 or 1 in all of some patients (Clopper and Pearson, 1934).

    All resamples of the bootstrap are alike there, as if nothing else were possible. With a share of p, none of n
    patients has it with a probability of (1 - p)^n, which is 2.5 % at the end of the interval. Images of one patient
    count as one, so that it is rather too wide.
    """
    width = 1 - 0.025 ** (1 / patients)
    return (1 - width, 1.0) if is_all else (0.0, width)


def missed_lesions(histograms: PredictionHistograms, nested: NestedEstimate) -> Rate | None:
    """Return how many images with a pneumothorax are called empty, each by a rule chosen on other images."""
    index = histograms.positive
    return rate(~nested.predicted_positive[index], number_patients(histograms.patient)[index])


def false_alarms(histograms: PredictionHistograms, nested: NestedEstimate) -> Rate | None:
    """Return how many images without a pneumothorax are called positive, each by a rule chosen on other images."""
    index = ~histograms.positive
    return rate(nested.predicted_positive[index], number_patients(histograms.patient)[index])


def false_alarms_by_other_images(histograms: PredictionHistograms, nested: NestedEstimate) -> Mapping[str, Rate]:
    """Return the false alarms by whether the patient has a pneumothorax in another image; groups without are left out.

    An image of an unknown patient has no other image.
    """
    patients = number_patients(histograms.patient)
    images, positives = np.bincount(patients)[patients], np.bincount(patients, histograms.positive)[patients]
    of_group = positives > 0, (positives == 0) & (images > 1), images == 1
    rates = {
        name: rate(nested.predicted_positive[index & ~histograms.positive], patients[index & ~histograms.positive])
        for name, index in zip(OTHER_IMAGES, of_group, strict=True)
    }
    return {name: found for name, found in rates.items() if found is not None}


def drains_by_outcome(
    histograms: PredictionHistograms, nested: NestedEstimate, drains: Mapping[str, bool]
) -> Mapping[str, Rate]:
    """Return how many of the noted images show a drain, by how they were decided; outcomes without are left out.

    The outcome is what images are picked by for a look: shares of wrong decisions among noted images would be those
    of the picking.

    Args:
        histograms: Out-of-fold predictions.
        nested: Their decisions, each by a rule chosen on other images.
        drains: Whether images show a drain, by id; images that are not in it are not counted.
    """
    noted = np.array([image_id in drains for image_id in histograms.image_id.tolist()])
    shows = np.array([drains.get(image_id, False) for image_id in histograms.image_id.tolist()])
    patients, positive, called = number_patients(histograms.patient), histograms.positive, nested.predicted_positive
    outcomes = {
        "false alarm": ~positive & called,
        "rightly left empty": ~positive & ~called,
        "missed pneumothorax": positive & ~called,
        "pneumothorax called positive": positive & called,
    }
    rates = {name: rate(shows[index & noted], patients[index & noted]) for name, index in outcomes.items()}
    return {name: found for name, found in rates.items() if found is not None}


def notes_on_others(histograms: PredictionHistograms, drains: Mapping[str, bool]) -> list[str]:
    """Return the ids of ``drains`` that are of no image that is scored."""
    return sorted(set(drains) - set(histograms.image_id.tolist()))
