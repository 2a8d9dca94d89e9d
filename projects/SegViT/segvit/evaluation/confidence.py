"""Calibration of the confidence of pixels: its temperature, and the expected calibration error.

Shape shorthand: N pixels, K classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from segvit.modeling.postprocessing.confidence import confidence_of_scores

# Intervals of equal width of the confidence (Guo et al., ICML 2017, section 2: M = 15).
NUM_BINS = 15
# Temperatures that are searched, and the accuracy of the logarithm of the result.
RANGE = (0.05, 20.0)
PRECISION = 1e-3
GOLDEN = (5**0.5 - 1) / 2


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

    By golden-section search of its inverse, in which the likelihood is convex; in `RANGE`.

    Args:
        scores: (K, N).
        truth: (N,) from 0 to K - 1.
    """
    logarithms = scores.clamp(min=torch.finfo(scores.dtype).tiny).log()
    own = logarithms.gather(0, truth[None])[0]

    def loss(logarithm: float) -> float:
        factor = torch.tensor(-logarithm).exp().item()
        return float(((factor * logarithms).logsumexp(dim=0) - factor * own).double().mean())

    low, high = (float(torch.tensor(bound).log()) for bound in RANGE)
    first, second = high - GOLDEN * (high - low), low + GOLDEN * (high - low)
    first_loss, second_loss = loss(first), loss(second)
    while high - low > PRECISION:
        if first_loss <= second_loss:
            high, second, second_loss = second, first, first_loss
            first = high - GOLDEN * (high - low)
            first_loss = loss(first)
        else:
            low, first, first_loss = first, second, second_loss
            second = low + GOLDEN * (high - low)
            second_loss = loss(second)
    return float(torch.tensor((low + high) / 2).exp())
