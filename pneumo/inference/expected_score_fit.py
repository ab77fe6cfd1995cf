"""The fit of the models of ``expected_score`` to labeled images."""

from functools import cache

import numpy as np
import numpy.typing as npt
from threadpoolctl import ThreadpoolController

from pneumo.inference.expected_score import (
    RANGES,
    ExpectedScore,
    Features,
    Floats,
    best_masks,
    log_odds,
)
from pneumo.inference.histograms import REFERENCE_PIXELS, PredictionHistograms, dice

RIDGE = 1.0
"""Half of this times the squared weights of the standardized features is added to the negative log-likelihood, as in
scikit-learn's LogisticRegression with C = 1, which cannot bound weights."""
LEAST_DEVIATION = 0.01
"""Of a feature, all of which are logarithms: images that differ by less, as by rounding, are taken to be alike."""
DECIMALS = 6
"""To which the parameters are rounded."""


def fit(histograms: PredictionHistograms, features: Features, images: npt.NDArray[np.bool_]) -> ExpectedScore | None:
    """Fit the models to predictions of labeled images; None without positive or without negative images.

    Args:
        histograms: Predictions for n images.
        features: That of them.
        images: (n,) those to fit to, predicted by networks that were not trained on them.
    """
    positive = histograms.positive[images]
    if positive.all() or not positive.any():
        return None
    presence_intercept, (head, max_pixel, *areas) = fit_logistic(
        features.presence_features[images], positive.astype(np.float64)
    )
    lesions = images & histograms.positive
    positives = histograms.select(lesions)
    shares = lesion_shares(positives)
    mask_bin, figure = best_masks(shares, features.areas[lesions])
    dice_intercept, (dice_weight,) = fit_logistic(log_odds(figure)[:, None], dice(positives, mask_bin))
    return ExpectedScore(
        presence_intercept=presence_intercept,
        head_weight=head,
        max_pixel_weight=max_pixel,
        area_weights=tuple(areas),
        lesion_shares=tuple(shares.tolist()),
        dice_intercept=dice_intercept,
        dice_weight=dice_weight,
    )


def fit_logistic(features: Floats, target: Floats) -> tuple[float, list[float]]:
    """Fit a logistic regression whose weights are not negative: its probability never falls as a feature rises.

    A target between 0 and 1 is fitted as its mean (Papke and Wooldridge, Econometric methods for fractional response
    variables, 1996).

    Args:
        features: (n, m).
        target: (n,) in [0, 1].

    Returns:
        The intercept, and the weight of each feature; 0 for one that is nearly the same everywhere.
    """
    from scipy.optimize import minimize

    mean, scale = features.mean(axis=0), features.std(axis=0)
    scale[scale < LEAST_DEVIATION] = np.inf
    standardized = (features - mean) / scale

    def loss(parameters: Floats) -> tuple[float, Floats]:
        intercept, weights = parameters[0], parameters[1:]
        total = intercept + standardized @ weights
        residual = 1 / (1 + np.exp(-total)) - target
        likelihood = (np.logaddexp(0, total) - target * total).sum()
        gradient = np.append(residual.sum(), residual @ standardized + RIDGE * weights)
        return likelihood + RIDGE / 2 * (weights @ weights), gradient

    bounds = [(None, None), *[(0, None)] * features.shape[1]]
    with _libraries().limit(limits=1, user_api="blas"):
        found = minimize(loss, np.zeros(1 + features.shape[1]), jac=True, method="L-BFGS-B", bounds=bounds).x
    weights = found[1:] / scale
    return round(float(found[0] - weights @ mean), DECIMALS), np.round(weights, DECIMALS).tolist()


@cache
def _libraries() -> ThreadpoolController:
    """Find the libraries whose threads would wait for each other in each of thousands of small products.

    Where other processes use the cores, that is several times as long as the products take.
    """
    return ThreadpoolController()


def lesion_shares(positives: PredictionHistograms) -> Floats:
    """Return the share of the pixels of each of ``RANGES`` that belong to the lesion, by isotonic regression.

    Pixels of large images count less, so that each image counts as one of 1024x1024.

    Args:
        positives: Predictions of images with a pneumothorax.
    """
    from sklearn.isotonic import isotonic_regression

    weight = REFERENCE_PIXELS / positives.pixels
    inside, outside = (_by_range(counts, weight) for counts in (positives.inside, positives.outside))
    total = inside + outside
    known = total > 0
    share = isotonic_regression(inside[known] / total[known], sample_weight=total[known], y_min=0.0, y_max=1.0)
    # A range without a pixel has the share of the one below it.
    filled: Floats = np.round(share[np.maximum(np.cumsum(known) - 1, 0)], DECIMALS)
    return filled


def _by_range(counts: npt.NDArray[np.int32], weight: Floats) -> Floats:
    by_bin: Floats = weight @ counts
    return np.add.reduceat(by_bin, RANGES)
