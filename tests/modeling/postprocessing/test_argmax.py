"""Labels from scores.

Shape shorthand: K classes, H x W pixels.
"""

import torch

from segvit.modeling.postprocessing.argmax import predicted_labels, winning_classes


def test_winning_classes_equal_argmax():
    scores = torch.randint(0, 4, (9, 13, 11), generator=torch.Generator().manual_seed(0)).float()  # many ties
    expected = (scores == scores.amax(dim=0)).int().argmax(dim=0)  # the first of the highest
    assert torch.equal(winning_classes(scores), expected)


def test_labels_of_either_output():
    scores = torch.rand(3, 4, 5)
    for output in ({"sem_seg": scores}, {"sem_seg_labels": scores.argmax(0)}):
        assert torch.equal(predicted_labels(output), scores.argmax(0))
