"""Checkpoints of another MODEL.VIT.IMG_SIZE: positions are resized to the grid of the model, and the log names both."""

import logging

import numpy as np
import pytest
import torch
from detectron2.modeling import build_model

from segvit.checkpoint.checkpointer import SegViTCheckpointer
from segvit.checkpoint.run_record import RunRecord
from segvit.config.defaults import get_segvit_cfg
from segvit.inference import SegViTPredictor

# Keys of an encoder of each kind of positions.
FAMILIES = {
    "absolute": {"NAME": "vit_tiny_patch16_224", "PATCH_SIZE": 16, "KEEP_PREFIX_TOKENS": False},
    "absolute, convolutional stem": {"NAME": "vit_tiny_patch16_224", "PATCH_SIZE": 16, "STEM": "conv"},
    "relative": {"NAME": "beit_base_patch16_224"},
    "rotary and absolute": {"NAME": "eva02_tiny_patch14_224", "PATCH_SIZE": 16},
}


def config(size, family="absolute", **segvit):
    cfg = get_segvit_cfg()
    cfg.MODEL.DEVICE, cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES = "cpu", 3
    cfg.MODEL.SEM_SEG_HEAD.IN_FEATURES = ["block2", "block0"]
    vit = cfg.MODEL.VIT
    vit.IMG_SIZE, vit.OUT_INDICES = list(size), [0, 2]
    vit.EMBED_DIM, vit.DEPTH, vit.NUM_HEADS, vit.DROP_PATH_RATE, vit.INIT_STD = 48, 3, 3, 0.0, 0.2
    cfg.INPUT.FORMAT, cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST = "RGB", 0, 4096
    for key, value in FAMILIES[family].items():
        vit[key] = value
    for key, value in ({"HIDDEN_DIM": 24, "NUM_HEADS": 2, "NUM_LAYERS": 1, "DROPOUT": 0.0} | segvit).items():
        cfg.MODEL.SEGVIT[key] = value
    return cfg


def trained(cfg):
    """A model with random positions, which differ from their initial values."""
    torch.manual_seed(0)
    model = build_model(cfg).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return model


def save(cfg, model, folder, *, with_record=True):
    SegViTCheckpointer(model, str(folder), run=RunRecord.of(cfg) if with_record else None).save("model")
    return str(folder / "model.pth")


def image(height, width):
    return torch.randint(256, (3, height, width), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)


def scores(model, height, width):
    with torch.no_grad():
        return model.eval()([{"image": image(height, width)}])[0]["sem_seg"]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_larger_image_size_gives_the_scores_of_the_checkpoint(family, tmp_path, caplog):
    """The model interpolates positions to any image; resizing them once for its size does the same."""
    old, new = config((64, 64), family), config((96, 96), family)
    source = trained(old)
    path = save(old, source, tmp_path)
    model = build_model(new)
    SegViTCheckpointer(model).load(path)
    torch.testing.assert_close(scores(model, 96, 96), scores(source, 96, 96), atol=1e-5, rtol=1e-5)
    (line,) = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert path in line and "4 x 4" in line and "6 x 6" in line


def test_the_learned_queries_of_shrunk_are_resized(tmp_path):
    old, new = (config(size, QUERY_UPSAMPLING="learned") for size in ((64, 64), (96, 80)))
    for cfg in (old, new):
        cfg.MODEL.VIT.REDUCTION, cfg.MODEL.VIT.REDUCTION_BLOCK = "shrunk", 1
    source = trained(old)
    model = build_model(new)
    SegViTCheckpointer(model).load(save(old, source, tmp_path))
    torch.testing.assert_close(scores(model, 96, 80), scores(source, 96, 80), atol=1e-5, rtol=1e-5)


def test_positions_of_a_transposed_grid_are_resized(tmp_path):
    """Grids of 4 x 6 and 6 x 4 have tensors of the same shape: without a record they would load as they are."""
    old, new = config((64, 96)), config((96, 64))
    source = trained(old)
    model = build_model(new)
    SegViTCheckpointer(model).load(save(old, source, tmp_path))
    torch.testing.assert_close(scores(model, 96, 64), scores(source, 96, 64), atol=1e-5, rtol=1e-5)


def test_training_starts_from_resized_positions(tmp_path):
    old, new = config((64, 64)), config((96, 96))
    path = save(old, trained(old), tmp_path)
    model = build_model(new).train()
    SegViTCheckpointer(model, strict=False, run=RunRecord.of(new)).load(path)
    labels = torch.zeros(96, 96, dtype=torch.int64)
    losses = model([{"image": image(96, 96), "sem_seg": labels}])
    assert all(loss.isfinite() for loss in losses.values())


def test_the_predictor_loads_a_checkpoint_of_another_size(tmp_path):
    old, new = config((64, 64)), config((96, 96))
    path = save(old, trained(old), tmp_path)
    pixels = np.random.default_rng(0).integers(0, 256, (96, 96, 3), dtype=np.uint8)
    labels = [SegViTPredictor(cfg, path)(pixels) for cfg in (old, new)]
    assert np.array_equal(*labels)


def test_the_grid_of_a_file_without_a_record_is_taken_as_square(tmp_path, caplog):
    """The crops of the official release are squares."""
    old, new = config((64, 64)), config((96, 96))
    source = trained(old)
    model = build_model(new)
    SegViTCheckpointer(model).load(save(old, source, tmp_path, with_record=False))
    torch.testing.assert_close(scores(model, 96, 96), scores(source, 96, 96), atol=1e-5, rtol=1e-5)
    assert "a square: the file does not say" in caplog.text


def test_a_grid_that_is_unknown_is_refused_with_the_remedy(tmp_path):
    old, new = config((64, 80)), config((96, 96))
    path = save(old, trained(old), tmp_path, with_record=False)
    with pytest.raises(ValueError, match=r"(?s)pos_embed .*set MODEL\.VIT\.IMG_SIZE to the crop of its training"):
        SegViTCheckpointer(build_model(new)).load(path)
