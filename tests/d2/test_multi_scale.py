"""Multi-scale and flipped testing: against a plain loop over the views, and in an evaluation.

Shape shorthand: H x W pixels, K classes.
"""

import logging

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from detectron2.engine import DefaultPredictor
from torch.nn.parallel import DistributedDataParallel

from helpers.labels import assert_labels_are_argmax
from helpers.tiny_models import build as build_tiny
from helpers.tiny_models import use_channels, use_windows
from segvit.d2.multi_scale import SemanticSegmentorWithTTA
from segvit.data.augmentation import ResizeShortestEdge
from segvit.engine import Trainer

NUM_CLASSES = 5
SIZE = (30, 43)
SQUARE_WINDOWS = {"SIZE": [32, 32], "STRIDE": [21, 21]}


@pytest.fixture
def tta_cfg(tiny_cfg):
    tiny_cfg.TEST.AUG.ENABLED = True
    tiny_cfg.TEST.AUG.MIN_SIZES, tiny_cfg.TEST.AUG.MAX_SIZE, tiny_cfg.TEST.AUG.FLIP = (24, 32, 50), 64, True
    return tiny_cfg


def build(cfg):
    """A tiny model, and the same model evaluated at several scales."""
    model = build_tiny(cfg)
    return model, SemanticSegmentorWithTTA(cfg, model)


@torch.no_grad()
def scores_of(model, image, **size):
    (result,) = model([{"image": image, **size}])
    return result["sem_seg"]


def resized(image, min_size, max_size):
    array = image.permute(1, 2, 0).numpy()
    transform = ResizeShortestEdge(min_size, max_size).get_transform(array)
    return torch.from_numpy(transform.apply_image(array).copy()).permute(2, 0, 1)


def mean_over_views(model, image, cfg, size):
    """Segment every view as a single image, flip it back, resize and average."""
    total, count = torch.zeros(NUM_CLASSES, *size), 0
    for min_size in cfg.TEST.AUG.MIN_SIZES:
        view = resized(image, min_size, cfg.TEST.AUG.MAX_SIZE)
        for flip in (False, True) if cfg.TEST.AUG.FLIP else (False,):
            scores = scores_of(model, view.flip(-1) if flip else view)
            scores = scores.flip(-1) if flip else scores
            total += F.interpolate(scores[None], size, mode="bilinear", align_corners=False)[0]
            count += 1
    return total / count


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("windows", [False, True])
@pytest.mark.parametrize("size", [SIZE, (61, 80)])
def test_scores_equal_a_plain_loop_over_the_views(tta_cfg, make_input, flip, windows, size):
    tta_cfg.TEST.AUG.FLIP = flip
    if windows:
        use_windows(tta_cfg, **SQUARE_WINDOWS)
    model, tta = build(tta_cfg)
    image = make_input(*SIZE)["image"]
    scores = scores_of(tta, image, height=size[0], width=size[1])
    torch.testing.assert_close(scores, mean_over_views(model, image, tta_cfg, size), rtol=1e-5, atol=1e-6)
    assert not torch.allclose(scores, scores_of(model, image, height=size[0], width=size[1]), atol=1e-3)


def test_levels_in_floating_point_are_resized_as_they_are(tta_cfg):
    """Elevations and reflectances are neither rounded nor kept within 0 to 255."""
    use_channels(tta_cfg, 2)
    tta_cfg.MODEL.PIXEL_MEAN, tta_cfg.MODEL.PIXEL_STD = [0.0, 0.5], [300.0, 0.3]
    model, tta = build(tta_cfg)
    levels = torch.rand(2, *SIZE, generator=torch.Generator().manual_seed(0))
    image = levels * torch.tensor([1000.0, 1.0])[:, None, None] - torch.tensor([200.0, 0.0])[:, None, None]
    scores = scores_of(tta, image)
    torch.testing.assert_close(scores, mean_over_views(model, image, tta_cfg, SIZE), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("windows", [False, True])
def test_one_scale_without_flip_equals_the_model(tta_cfg, make_input, windows):
    tta_cfg.TEST.AUG.MIN_SIZES, tta_cfg.TEST.AUG.FLIP = (40,), False
    if windows:
        use_windows(tta_cfg, **SQUARE_WINDOWS)
    model, tta = build(tta_cfg)
    image = make_input(*SIZE)["image"]
    plain = scores_of(model, resized(image, 40, 64), height=SIZE[0], width=SIZE[1])
    assert torch.equal(scores_of(tta, image), plain)


def test_a_symmetric_image_has_symmetric_scores(tta_cfg, make_input):
    """At widths of whole patches: padding is on one side only and would break the symmetry."""
    tta_cfg.TEST.AUG.MIN_SIZES = (32,)
    model, tta = build(tta_cfg)
    half = make_input(32, 24)["image"]
    image = torch.cat([half, half.flip(-1)], dim=-1)
    scores, plain = scores_of(tta, image), scores_of(model, image)
    torch.testing.assert_close(scores, scores.flip(-1))
    assert not torch.allclose(plain, plain.flip(-1), atol=1e-3)


@pytest.mark.parametrize("windows", [False, True])
def test_labels_are_the_argmax_of_the_mean_scores(tta_cfg, make_input, monkeypatch, windows):
    monkeypatch.setattr("segvit.modeling.postprocessing.score_bands.ELEMENTS_PER_BAND", 7 * NUM_CLASSES * SIZE[1])
    if windows:
        use_windows(tta_cfg, **SQUARE_WINDOWS)
    image = make_input(*SIZE)["image"]
    scores = scores_of(build(tta_cfg)[1], image)
    tta_cfg.TEST.LABELS_ONLY = True
    (result,) = build(tta_cfg)[1]([{"image": image}])
    assert set(result) == {"sem_seg_labels"}
    assert_labels_are_argmax(result["sem_seg_labels"], scores)


def test_a_batch_equals_one_by_one(tta_cfg, make_input):
    _, tta = build(tta_cfg)
    inputs = [{"image": make_input(*size)["image"]} for size in (SIZE, (50, 32))]
    together = tta(inputs)
    for one, result in zip(inputs, together, strict=True):
        assert torch.equal(result["sem_seg"], tta([one])[0]["sem_seg"])
        assert set(one) == {"image"}


def test_max_size_limits_the_long_side(tta_cfg, make_input):
    tta_cfg.TEST.AUG.MIN_SIZES, tta_cfg.TEST.AUG.MAX_SIZE, tta_cfg.TEST.AUG.FLIP = (300,), 64, False
    model, tta = build(tta_cfg)
    sizes = []
    model.backbone.register_forward_pre_hook(lambda module, args: sizes.append(tuple(args[0].shape[-2:])))
    scores_of(tta, make_input(*SIZE)["image"])
    assert sizes == [(48, 64)]  # 30 x 43 becomes 45 x 64, padded to whole patches


def test_a_distributed_model_is_unwrapped(tta_cfg, tmp_path):
    torch.distributed.init_process_group("gloo", init_method=(tmp_path / "init").as_uri(), rank=0, world_size=1)
    try:
        model, _ = build(tta_cfg)
        assert SemanticSegmentorWithTTA(tta_cfg, DistributedDataParallel(model)).model is model
    finally:
        torch.distributed.destroy_process_group()


def test_a_default_predictor_can_evaluate_at_several_scales(tta_cfg, bgr_image, tmp_path):
    _, tta = build(tta_cfg)
    torch.save({"model": tta.model.state_dict()}, tmp_path / "model.pth")
    tta_cfg.MODEL.WEIGHTS = str(tmp_path / "model.pth")
    predictor = DefaultPredictor(tta_cfg)
    predictor.model = SemanticSegmentorWithTTA(tta_cfg, predictor.model)
    rgb = torch.from_numpy(bgr_image[:, :, ::-1].copy()).permute(2, 0, 1)
    assert torch.equal(predictor(bgr_image)["sem_seg"], scores_of(tta, rgb))


def test_normalized_images_are_refused(tta_cfg):
    _, tta = build(tta_cfg)
    with pytest.raises(ValueError, match="must be from 0 to 255, not from -1"):
        scores_of(tta, torch.linspace(-1, 1, 3 * 8 * 8).view(3, 8, 8))


def test_empty_min_sizes_are_refused(tta_cfg):
    tta_cfg.TEST.AUG.MIN_SIZES = ()
    with pytest.raises(ValueError, match=r"TEST\.AUG\.MIN_SIZES is empty"):
        build(tta_cfg)


def test_evaluation_reads_original_images_and_writes_to_a_subfolder(tta_cfg, toy_scenes, tmp_path, caplog):
    """INPUT.MIN_SIZE_TEST does not resize them; results are in `tta`."""
    tta_cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES = 10
    tta_cfg.DATASETS.TEST, tta_cfg.DATALOADER.NUM_WORKERS = ("toy_scenes_sem_seg_val",), 0
    tta_cfg.INPUT.MIN_SIZE_TEST, tta_cfg.INPUT.MAX_SIZE_TEST = 32, 48
    tta_cfg.TEST.AUG.MIN_SIZES, tta_cfg.TEST.AUG.MAX_SIZE, tta_cfg.TEST.AUG.FLIP = (32,), 48, False
    tta_cfg.OUTPUT_DIR = str(tmp_path)
    tta_cfg.freeze()
    model, _ = build(tta_cfg)
    with caplog.at_level(logging.INFO):
        single, multi = Trainer.test(tta_cfg, model), Trainer.test_with_TTA(tta_cfg, model)
    assert list(multi) == ["sem_seg_TTA"]
    assert "short sides (32,)" in caplog.text
    np.testing.assert_equal(multi["sem_seg_TTA"], single["sem_seg"])
    assert (tmp_path / "sem_seg_evaluation.json").read_text() == (
        tmp_path / "tta" / "sem_seg_evaluation.json"
    ).read_text()
