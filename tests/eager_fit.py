"""Fits to all of some images; and estimates that give every other image a mask.

Networks that have learned nothing would leave all images empty.
"""

from dataclasses import replace

import numpy as np

from pneumo.inference.expected_score import ExpectedScore, Features, estimate, log_odds
from pneumo.inference.expected_score_fit import fit
from pneumo.inference.histograms import PredictionHistograms


def features_of(histograms: PredictionHistograms) -> Features:
    return Features.of(histograms.predicted, histograms.pixels, histograms.presence_probability)


def fit_all(histograms: PredictionHistograms) -> ExpectedScore | None:
    return fit(histograms, features_of(histograms), np.ones(len(histograms), np.bool_))


def fit_eagerly(histograms: PredictionHistograms, features: Features, images: np.ndarray) -> ExpectedScore:
    """Fit the models, and then expect a lesion, and a Dice of 1, of every other image."""
    model = fit(histograms, features, images)
    assert model is not None
    # Of models that found nothing to tell images by, the presence head's or the highest pixel's word is taken.
    model = replace(model, dice_intercept=20.0, head_weight=1.0, max_pixel_weight=1.0)
    found = estimate(model, features.select(images))
    median = float(np.median(log_odds(found.presence)))
    return replace(model, presence_intercept=model.presence_intercept - median)
