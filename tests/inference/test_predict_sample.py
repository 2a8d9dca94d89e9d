"""Predictions that are to be drawn come from trained weights."""

import numpy as np
import pytest
import torch
from detectron2.modeling import build_model

from segvit.inference.predict_sample import predict_sample


def test_empty_weights_are_refused(tiny_cfg):
    with pytest.raises(ValueError, match=r"MODEL\.WEIGHTS is empty"):
        predict_sample(tiny_cfg, "toy_scenes_sem_seg_val", num_images=1)


def test_labels_alone_draw_the_same(tiny_cfg, toy_scenes_root, tmp_path, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(toy_scenes_root))
    torch.manual_seed(0)
    torch.save({"model": build_model(tiny_cfg).state_dict()}, tmp_path / "model.pth")
    tiny_cfg.MODEL.WEIGHTS = str(tmp_path / "model.pth")
    (by_scores,) = predict_sample(tiny_cfg, "toy_scenes_sem_seg_val", num_images=1)
    tiny_cfg.TEST.LABELS_ONLY = True
    (by_labels,) = predict_sample(tiny_cfg, "toy_scenes_sem_seg_val", num_images=1)
    assert by_scores.labels.shape == by_scores.truth.shape
    assert np.array_equal(by_labels.labels, by_scores.labels)
