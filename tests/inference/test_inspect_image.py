"""What an inspected image shows: grids that cover the picture, the tokens that were kept, and a drawing of them."""

import numpy as np
import pytest
import torch
from PIL import Image

from segvit.checkpoint.checkpointer import SegViTCheckpointer
from segvit.engine.trainer import Trainer
from segvit.inference import SegViTPredictor
from segvit.inference.inspect_image import inspect_image
from segvit.visualization.token_views import dim_dropped, draw_token_views, to_pixels

REDUCTIONS = {"none": "none", "shrunk": "learned", "shrunk++": "nearest"}


@pytest.fixture
def make_predictor(tiny_cfg, tmp_path):
    """A factory of the predictor around random weights."""

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
def test_grids_cover_the_picture(make_predictor, bgr_image, reduction):
    predictor = make_predictor(reduction)
    inspection = inspect_image(predictor, bgr_image)  # 30 x 43 pixels in patches of 8
    assert np.array_equal(inspection.image, bgr_image[:, :, ::-1])
    assert inspection.kept.shape == (4, 6) and inspection.masks.shape == (5, 4, 6)
    assert inspection.probabilities.shape == (5,) and inspection.patch_size == 8
    expected = np.zeros((4, 6), dtype=bool)
    if reduction == "none":
        expected[:] = True
    else:
        expected[::2, ::2] = True
    if reduction == "shrunk++":
        expected |= inspection.edge_scores > 0.5
        assert expected.sum() > 6
    else:
        assert inspection.edge_scores is None
    assert np.array_equal(inspection.kept, expected)
    assert not predictor.model.backbone._forward_hooks, "the model is left as it was"


def test_dropped_patches_are_dark():
    image = np.full((10, 13, 3), 200, dtype=np.uint8)
    kept = np.array([[True, False], [False, True]])
    dimmed = dim_dropped(image, kept, 8)
    assert dimmed.shape == image.shape
    assert (dimmed[:8, :8] == 200).all() and (dimmed[8:, 8:] == 200).all()
    assert (dimmed[:8, 8:] == 40).all() and (dimmed[8:, :8] == 40).all()


def test_smooth_values_keep_patch_centres():
    pixels = to_pixels(np.array([[0.0, 1.0]]), (5, 10), 5, smooth=True)
    assert pixels.shape == (5, 10)
    assert pixels[0, 2] == pytest.approx(0) and pixels[0, 7] == pytest.approx(1)
    assert 0 < pixels[0, 4] < pixels[0, 5] < 1


def test_drawing(make_predictor, bgr_image, tmp_path):
    inspection = inspect_image(make_predictor("shrunk++"), bgr_image)
    draw_token_views(
        inspection.image,
        edge_scores=inspection.edge_scores,
        kept=inspection.kept,
        masks=[("sky", inspection.masks[0])],
        patch_size=8,
        output=tmp_path / "views" / "image.png",
    )
    width, height = Image.open(tmp_path / "views" / "image.png").size
    assert width == 3 * 4 * 90 and height > 300
