"""`targets_of_labels` against a comparison class by class."""

import pytest
import torch

from segvit.modeling.losses.targets import BACKGROUND, IGNORED, targets_of_labels

K, IGNORE_VALUE = 4, 255


@pytest.mark.parametrize(
    ("ids", "ignored"),
    [
        ((0, 1, 3, IGNORE_VALUE), IGNORE_VALUE),
        ((0, 2, K, -7, IGNORE_VALUE), IGNORE_VALUE),
        ((0, 1, 2, 3), 0),
        ((1, -1), -1),
        ((IGNORE_VALUE,), IGNORE_VALUE),
        ((K,), IGNORE_VALUE),
    ],
)
def test_targets_hold_the_present_classes_and_their_labels(ids, ignored):
    generator = torch.Generator().manual_seed(0)
    labels = torch.tensor(ids)[torch.randint(len(ids), (3, 5, 7), generator=generator)]
    labels[2] = ids[0]
    targets = targets_of_labels(labels, num_classes=K, ignore_value=ignored)
    assert len(targets) == 3
    for label, target in zip(labels, targets, strict=True):
        present = [class_id for class_id in range(K) if class_id != ignored and (label == class_id).any()]
        assert target.classes.tolist() == present and target.classes.dtype == torch.int64
        for class_id in present:
            assert torch.equal(target.labels == class_id, label == class_id)
        assert torch.equal(target.labels == IGNORED, label == ignored)
        assert set(target.labels.unique().tolist()) <= {*present, BACKGROUND, IGNORED}
