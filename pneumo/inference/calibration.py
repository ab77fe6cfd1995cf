"""Whether a predicted probability is the share of images that it holds for: a reliability diagram.

(Expected calibration error: Guo et al., On Calibration of Modern Neural Networks, ICML 2017, equation 3. Brier score:
Brier, Verification of forecasts expressed in terms of probability, Monthly Weather Review 78, 1950.)
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

BINS = 10


@dataclass(frozen=True, kw_only=True)
class ReliabilityBin:
    """The images whose probability is in one range."""

    low: float
    high: float
    images: int
    positives: int
    mean_probability: float

    @property
    def observed(self) -> float:
        """Share of the images that are positive."""
        return self.positives / self.images


@dataclass(frozen=True, kw_only=True)
class Reliability:
    """A reliability diagram."""

    bins: list[ReliabilityBin]
    """Those that have images, in ascending order; all of equal width."""
    expected_error: float
    """Mean over images of the distance between the share of positives and the mean probability of their bin."""
    brier: float
    """Brier score: mean over images of the squared distance between the probability and 1 or 0, whichever is true."""


def reliability(positive: npt.NDArray[np.bool_], probability: npt.NDArray[np.float64]) -> Reliability:
    """Compare the probabilities (n,) of images with whether they are positive (n,)."""
    number = np.minimum((probability * BINS).astype(int), BINS - 1)
    images = np.bincount(number, minlength=BINS)
    positives = np.bincount(number, positive, minlength=BINS)
    sums = np.bincount(number, probability, minlength=BINS)
    return Reliability(
        bins=[
            ReliabilityBin(
                low=k / BINS,
                high=(k + 1) / BINS,
                images=int(images[k]),
                positives=int(positives[k]),
                mean_probability=float(sums[k] / images[k]),
            )
            for k in np.flatnonzero(images).tolist()
        ],
        expected_error=float(np.abs(positives - sums).sum() / len(positive)),
        brier=float(((probability - positive) ** 2).mean()),
    )
