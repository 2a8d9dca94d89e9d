"""`Separation`: the AUROC from histograms, against SciPy's count of pairs."""

import math

import pytest
import torch
from scipy.stats import mannwhitneyu

from segvit.evaluation.separation import NUM_BINS, Separation


def auroc_of_pairs(values, kinds):
    high, low = values[kinds == 1].flatten().numpy(), values[kinds == 0].flatten().numpy()
    return mannwhitneyu(high, low).statistic / (len(high) * len(low))


def counted(values, kinds):
    separation = Separation()
    separation.add(values, kinds)
    return separation


@pytest.mark.parametrize("levels", [3, 40, NUM_BINS])
def test_values_of_whole_bins_give_the_exact_statistic(levels):
    """Few levels have many ties."""
    draw = torch.Generator().manual_seed(levels)
    values = torch.randint(levels, (20, 30), generator=draw).double() / NUM_BINS
    kinds = torch.randint(3, (20, 30), generator=draw)  # 2 does not count
    values[kinds == 1] += torch.randint(2, (int((kinds == 1).sum()),), generator=draw) / NUM_BINS
    assert counted(values.clamp(max=1), kinds).auroc() == pytest.approx(
        auroc_of_pairs(values.clamp(max=1 - 1 / NUM_BINS), kinds), abs=1e-12
    )


def test_other_values_differ_by_less_than_the_pairs_within_a_bin():
    draw = torch.Generator().manual_seed(1)
    values, kinds = torch.rand(50, 40, generator=draw), torch.randint(2, (50, 40), generator=draw)
    values = torch.where(kinds == 1, values**0.5, values)
    assert counted(values, kinds).auroc() == pytest.approx(auroc_of_pairs(values, kinds), abs=1e-5)


def test_images_add_up_and_one_kind_alone_has_no_auroc():
    separation = counted(torch.tensor([[0.9, 0.2]]), torch.tensor([[1, 255]]))
    assert math.isnan(separation.auroc())
    separation.add(torch.tensor([[0.1, 1.5]]), torch.tensor([[0, 0]]))
    assert separation.auroc() == 0.5
