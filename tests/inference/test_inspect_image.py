"""`inspect_image` and `draw_token_views`: grids that cover the image, kept tokens, and their drawing."""

import numpy as np
import pytest
import torch
from PIL import Image

from helpers.tiny_models import use_windows
from segvit.checkpoint.checkpointer import SegViTCheckpointer
from segvit.engine.trainer import Trainer
from segvit.errors import UserError
from segvit.inference import SegViTPredictor
from segvit.inference.inspect_image import inspect_image
from segvit.visualization.token_views import dim_dropped, draw_token_views, overlay_mask, to_pixels

REDUCTIONS = {"none": "none", "shrunk": "learned", "shrunk++": "nearest", "cells": "none"}


@pytest.fixture
def make_predictor(tiny_cfg, tmp_path):
    """A factory of predictors with random weights, by token reduction."""

    def make(reduction):
        vit = tiny_cfg.MODEL.VIT
        vit.REDUCTION, vit.REDUCTION_BLOCK, vit.OUT_INDICES, vit.EDGE.THRESHOLD = reduction, 1, [0, 2], 0.5
        tiny_cfg.MODEL.SEM_SEG_HEAD.IN_FEATURES = ["block2", "block0"]
        tiny_cfg.MODEL.SEGVIT.QUERY_UPSAMPLING = REDUCTIONS[reduction]
        torch.manual_seed(0)
        SegViTCheckpointer(Trainer.build_model(tiny_cfg), save_dir=str(tmp_path)).save("model")
        tiny_cfg.MODEL.WEIGHTS = str(tmp_path / "model.pth")
        return SegViTPredictor(tiny_cfg)

    return make


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_grids_cover_the_image(make_predictor, bgr_image, reduction):
    predictor = make_predictor(reduction)
    view = inspect_image(predictor, bgr_image)  # 30 x 43 pixels in patches of 8
    assert np.array_equal(view.image, bgr_image[:, :, ::-1])
    assert view.kept.shape == (4, 6) and view.masks.shape == (5, 4, 6)
    assert view.probabilities.shape == (5,) and view.patch_size == 8
    expected = np.zeros((4, 6), dtype=bool)
    if reduction == "none":
        expected[:] = True
    elif reduction == "cells":  # a patch on an edge keeps the four of its cell
        expected = (view.edge_scores > 0.5).reshape(2, 2, 3, 2).any(axis=(1, 3)).repeat(2, 0).repeat(2, 1)
        assert 0 < expected.sum() < 24
    else:
        expected[::2, ::2] = True
    if reduction == "shrunk++":
        expected |= view.edge_scores > 0.5
        assert expected.sum() > 6
    elif reduction != "cells":
        assert view.edge_scores is None
    assert np.array_equal(view.kept, expected)
    assert not predictor.model.backbone._forward_hooks, "the hooks are removed"


def test_windows_are_refused(make_predictor, tiny_cfg, bgr_image):
    use_windows(tiny_cfg)
    with pytest.raises(UserError, match=r"TEST\.WINDOW\.ENABLED"):
        inspect_image(make_predictor("none"), bgr_image)


def test_dropped_patches_are_darkened():
    image = np.full((10, 13, 3), 200, dtype=np.uint8)
    kept = np.array([[True, False], [False, True]])
    dimmed = dim_dropped(image, kept, 8)
    assert dimmed.shape == image.shape
    assert (dimmed[:8, :8] == 200).all() and (dimmed[8:, 8:] == 200).all()
    assert (dimmed[:8, 8:] == 40).all() and (dimmed[8:, :8] == 40).all()


def test_smooth_upsampling_keeps_the_values_at_patch_centres():
    pixels = to_pixels(np.array([[0.0, 1.0]]), (5, 10), 5, smooth=True)
    assert pixels.shape == (5, 10)
    assert pixels[0, 2] == pytest.approx(0) and pixels[0, 7] == pytest.approx(1)
    assert 0 < pixels[0, 4] < pixels[0, 5] < 1


def test_masks_finer_than_the_patches_are_drawn_in_their_place():
    """With detail, four cells for each of 2 x 3 patches of 14 pixels: the right half of the mask is the image's."""
    mask = np.zeros((8, 12), dtype=np.float32)
    mask[:, 6:] = 1
    drawn = overlay_mask(np.zeros((28, 40, 3), dtype=np.uint8), mask, np.ones((2, 3), dtype=bool), 14)
    assert drawn.shape == (28, 40, 3)
    assert drawn[:, :19].max() < 20 and (drawn[:, 23:].max(axis=2) > 150).all()


def test_drawing_has_a_panel_for_each_view(make_predictor, bgr_image, tmp_path):
    view = inspect_image(make_predictor("shrunk++"), bgr_image)
    draw_token_views(
        view.image,
        edge_scores=view.edge_scores,
        kept=view.kept,
        masks=[("sky", view.masks[0])],
        patch_size=8,
        output=tmp_path / "views" / "image.png",
    )
    width, height = Image.open(tmp_path / "views" / "image.png").size
    assert width == 3 * 4 * 90 and height > 300
