"""Targets made of label maps, against comparisons class by class."""

import pytest
import torch

from segvit.modeling.losses.mask_targets import targets_of_labels

K, IGNORED = 4, 255
BACKGROUND = K  # any label that is neither a class nor ignored


@pytest.mark.parametrize(
    ("ids", "ignored"),
    [
        ((0, 1, 3, IGNORED), IGNORED),
        ((0, 2, BACKGROUND, -7, IGNORED), IGNORED),
        ((0, 1, 2, 3), 0),
        ((1, -1), -1),
        ((IGNORED,), IGNORED),
        ((BACKGROUND,), IGNORED),
    ],
)
def test_targets_are_the_classes_of_the_labels(ids, ignored):
    generator = torch.Generator().manual_seed(0)
    labels = torch.tensor(ids)[torch.randint(len(ids), (3, 5, 7), generator=generator)]
    labels[2] = ids[0]
    targets = targets_of_labels(labels, num_classes=K, ignore_value=ignored)
    assert len(targets) == 3
    for label, target in zip(labels, targets, strict=True):
        present = [class_id for class_id in range(K) if class_id != ignored and (label == class_id).any()]
        assert target.classes.tolist() == present and target.classes.dtype == torch.int64
        assert target.masks.shape == (len(present), 5, 7) and target.masks.dtype == torch.bool
        assert all(torch.equal(mask, label == class_id) for mask, class_id in zip(target.masks, present, strict=True))
        assert torch.equal(target.valid, label != ignored)
