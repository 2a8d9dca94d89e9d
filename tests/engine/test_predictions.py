"""Predictions that are to be drawn come from trained weights."""

import pytest

from segvit.engine.predictions import predict_sample


def test_empty_weights_are_refused(tiny_cfg):
    with pytest.raises(ValueError, match=r"MODEL\.WEIGHTS is empty"):
        predict_sample(tiny_cfg, "toy_scenes_sem_seg_val", num_images=1)
