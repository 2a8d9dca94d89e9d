"""Average precision and recall of edge scores, against worked examples and a loop."""

import numpy as np
import pytest

from segvit.evaluation.edge_quality import edge_quality


def test_quality_of_five_patches_equals_hand_computed_values():
    scores = np.array([0.9, 0.8, 0.7, 0.2, 0.1])
    is_edge = np.array([True, False, True, False, True])
    is_kept = np.array([True, True, False, False, True])
    quality = edge_quality(scores, is_edge, is_kept)
    assert quality == pytest.approx(
        {
            "prevalence": 3 / 5,
            "average_precision": (1 / 1 + 2 / 3 + 3 / 5) / 3,
            "recall_at_prevalence": 2 / 3,
            "kept_share": 3 / 5,
            "kept_recall": 2 / 3,
        }
    )


def test_average_precision_equals_a_sum_over_thresholds():
    rng = np.random.default_rng(0)
    is_edge = rng.random(500) < 0.3
    scores = rng.permutation(500) / 500 + 0.4001 * is_edge  # without ties
    expected, recall = 0.0, 0.0
    for threshold in np.sort(scores)[::-1]:
        taken = scores >= threshold
        precision, next_recall = is_edge[taken].mean(), is_edge[taken].sum() / is_edge.sum()
        expected, recall = expected + (next_recall - recall) * precision, next_recall
    assert edge_quality(scores, is_edge, is_edge)["average_precision"] == pytest.approx(expected)


def test_perfect_and_worst_scores_have_known_quality():
    is_edge = np.array([True, True, False, False])
    assert edge_quality(is_edge.astype(float), is_edge, is_edge)["average_precision"] == 1
    assert edge_quality(-is_edge.astype(float), is_edge, ~is_edge)["kept_recall"] == 0


def test_a_dataset_without_edges_is_refused():
    nothing = np.zeros(4, dtype=bool)
    with pytest.raises(ValueError, match="no patch of the dataset contains a class boundary"):
        edge_quality(np.zeros(4), nothing, nothing)
