"""Calibration of the confidence of pixels: its temperature, and the expected calibration error.

Shape shorthand: N pixels, K classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import minimize_scalar

from segvit.modeling.postprocessing.confidence import confidence_of_scores

# Intervals of equal width of the confidence (Guo et al., ICML 2017, section 2: M = 15).
NUM_BINS = 15
# Temperatures that are searched, and the accuracy of the logarithm of the result.
RANGE = (0.05, 20.0)
PRECISION = 1e-3


@dataclass(frozen=True)
class Reliability:
    """Confidence and accuracy of pixels, by intervals of their confidence.

    Attributes:
        pixels: (NUM_BINS,) how many fall into each interval.
        confidence, accuracy: (NUM_BINS,) their means; NaN in an empty interval.
    """

    pixels: torch.Tensor
    confidence: torch.Tensor
    accuracy: torch.Tensor

    @property
    def error(self) -> float:
        """The expected calibration error: the mean distance of accuracy and confidence over all pixels, 0 to 1."""
        gaps = (self.accuracy - self.confidence).abs().nan_to_num()
        return float((gaps * self.pixels).sum() / self.pixels.sum())


def reliability(scores: torch.Tensor, truth: torch.Tensor, temperature: float) -> Reliability:
    """Of pixels with scores (K, N) and true classes (N,); a class from K on is never predicted."""
    confidence = confidence_of_scores(scores, temperature).double()
    is_right = (scores.argmax(dim=0) == truth).double()
    bins = (confidence * NUM_BINS).long().clamp(max=NUM_BINS - 1)
    pixels = torch.bincount(bins, minlength=NUM_BINS)
    sums = (torch.bincount(bins, weights=values, minlength=NUM_BINS) for values in (confidence, is_right))
    mean_confidence, accuracy = (one / pixels for one in sums)
    return Reliability(pixels, mean_confidence, accuracy)


def fit_temperature(scores: torch.Tensor, truth: torch.Tensor) -> float:
    """The temperature with the smallest negative log-likelihood of the true classes.

    In `RANGE`; the likelihood is convex in the inverse of the temperature.

    Args:
        scores: (K, N).
        truth: (N,) from 0 to K - 1.
    """
    logarithms = scores.clamp(min=torch.finfo(scores.dtype).tiny).log()
    own = logarithms.gather(0, truth[None])[0]

    def loss(logarithm: float) -> float:
        factor = float(np.exp(-logarithm))
        return float(((factor * logarithms).logsumexp(dim=0) - factor * own).double().mean())

    found = minimize_scalar(loss, bounds=np.log(RANGE), method="bounded", options={"xatol": PRECISION})
    return float(np.exp(found.x))
