"""Comparison of labels with the argmax of scores."""

import torch


def assert_labels_are_argmax(labels, scores, *, margin=1e-6):
    """Labels (H, W) equal the argmax of scores (K, H, W) wherever the two best scores differ by more than `margin`."""
    assert labels.shape == scores.shape[1:]
    chosen = scores.gather(0, labels.long()[None])[0]
    worst = (scores.amax(dim=0) - chosen).max().item()
    assert worst <= margin, f"a label's score is {worst:.1e} below the best"
    if len(scores) > 1:
        best_two = scores.topk(2, dim=0).values
        clear = best_two[0] - best_two[1] > margin
        assert torch.equal(labels.long()[clear], scores.argmax(dim=0)[clear])
