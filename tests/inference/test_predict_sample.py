"""`predict_sample`: needs weights, and returns the same labels from scores and from labels."""

import numpy as np
import pytest
import torch
from detectron2.modeling import build_model

from segvit.inference.predict_sample import predict_sample


def test_empty_weights_are_refused(tiny_cfg):
    with pytest.raises(ValueError, match=r"MODEL\.WEIGHTS is empty"):
        predict_sample(tiny_cfg, "toy_scenes_sem_seg_val", num_images=1)


def test_labels_are_the_same_without_scores(tiny_cfg, toy_scenes, tmp_path):
    torch.manual_seed(0)
    torch.save({"model": build_model(tiny_cfg).state_dict()}, tmp_path / "model.pth")
    tiny_cfg.MODEL.WEIGHTS = str(tmp_path / "model.pth")
    (from_scores,) = predict_sample(tiny_cfg, "toy_scenes_sem_seg_val", num_images=1)
    tiny_cfg.TEST.LABELS_ONLY = True
    (from_labels,) = predict_sample(tiny_cfg, "toy_scenes_sem_seg_val", num_images=1)
    assert from_scores.labels.shape == from_scores.truth.shape
    assert np.array_equal(from_labels.labels, from_scores.labels)
