"""`ScoreRatios`: the factor of a new group's scores that separates its classes best."""

import math

import torch

from segvit.continual.calibration import ScoreRatios


def test_the_best_factor_separates_the_new_class_from_the_background():
    """The new class wins its own pixels with factors above 2, and background pixels with factors above 8."""
    ratios = ScoreRatios(1)
    old, new = torch.full((4, 4), 0.8), torch.full((4, 4), 0.1)
    labels = torch.zeros(4, 4, dtype=torch.long)
    new[0], labels[0] = 0.4, 1
    labels[3], new[3] = 255, 0.9
    ratios.add(torch.stack([old, new]), labels, [1], 255)
    factor, before, after = ratios.best_factor()
    assert 2 <= factor < 8 and before == 0 and after == 100


def test_without_a_pixel_of_the_new_class_its_scores_stay():
    ratios = ScoreRatios(1)
    ratios.add(torch.full((2, 4, 4), 0.5), torch.zeros(4, 4, dtype=torch.long), [1], 255)
    factor, _, _ = ratios.best_factor()
    assert factor == 1


def test_of_equally_good_factors_the_one_nearest_to_one_is_taken():
    """All pixels are of the new class, which wins them with any factor above 1 / 2."""
    ratios = ScoreRatios(1)
    scores = torch.stack([torch.full((4, 4), 0.2), torch.full((4, 4), 0.4)])
    ratios.add(scores, torch.ones(4, 4, dtype=torch.long), [1], 255)
    assert ratios.best_factor() == (1, 100, 100)
    ratios.add(scores[[1, 0]], torch.ones(4, 4, dtype=torch.long), [1], 255)
    assert math.isclose(ratios.best_factor()[0], 2, rel_tol=0.03)
