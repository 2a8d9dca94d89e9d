"""Confidence of a pixel: the probability of its best class after a normalization of the scores with a temperature.

Shape shorthand: K classes, H x W pixels.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch

from segvit.modeling.postprocessing.image_sizes import Size
from segvit.modeling.postprocessing.score_bands import join_bands


def confidence_of_scores(scores: torch.Tensor, temperature: float = 1.0) -> torch.Tensor:
    """s_best^(1/T) / sum over c of s_c^(1/T): scores (K, ...) to (...), from 1/K to 1.

    This is the softmax of log(s) / T, as in temperature scaling (Guo et al., ICML 2017, section 4.2). With T = 1 it is
    the best class's part of the sum of all scores. The order of the classes does not depend on T. A pixel whose scores
    are all 0 has 1/K.
    """
    best = scores.amax(dim=0)
    # Relative to the best score, so that no power underflows to 0 / 0.
    tiny = torch.finfo(scores.dtype).tiny
    relative = scores.clamp(min=tiny).div_(best.clamp(min=tiny))
    if temperature != 1:
        relative.pow_(1 / temperature)
    return relative.sum(dim=0).reciprocal_()


def confidence_of_bands(bands: Iterable[torch.Tensor], size: Size, temperature: float) -> torch.Tensor:
    """(H, W) of `size`, of bands (K, rows, W) of its scores; only one band exists at a time."""
    return join_bands((confidence_of_scores(band, temperature)[None] for band in bands), size)[0]
