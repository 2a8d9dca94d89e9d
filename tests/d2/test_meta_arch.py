"""`SegViT`, the meta-architecture: losses, scores, sizes, padding, stages, checkpoints and Detectron2's predictor.

Shape shorthand: B images, H x W pixels, K classes.
"""

import pytest
import torch
import torch.nn.functional as F
from detectron2.engine import DefaultPredictor

from helpers.tiny_models import build, segment, without_labels

NUM_CLASSES, IGNORED = 5, 255
LOSSES = {f"{name}{suffix}" for name in ("loss_ce", "loss_mask", "loss_dice") for suffix in ("", "_0")}


def test_training_returns_losses_that_reach_every_parameter(tiny_cfg, make_input):
    model = build(tiny_cfg).train()
    losses = model([make_input(32, 48), make_input(32, 48, seed=1)])
    assert set(losses) == LOSSES
    assert all(loss.shape == () and loss.isfinite() and loss > 0 for loss in losses.values())
    sum(losses.values()).backward()
    without_gradient = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert without_gradient == []


def test_loss_weights_come_from_the_config(tiny_cfg, make_input):
    plain = build(tiny_cfg).train()([make_input(32, 48)])
    segvit = tiny_cfg.MODEL.SEGVIT
    segvit.CLASS_WEIGHT, segvit.FOCAL_WEIGHT, segvit.DICE_WEIGHT = 2.0, 60.0, 4.0
    scaled = build(tiny_cfg).train()([make_input(32, 48)])
    factors = {"loss_ce": 2.0, "loss_mask": 3.0, "loss_dice": 4.0}
    for name, factor in factors.items():
        torch.testing.assert_close(scaled[name], factor * plain[name])
        torch.testing.assert_close(scaled[f"{name}_0"], factor * plain[f"{name}_0"])


@pytest.mark.parametrize("output", ["mix", "diagonal"])
@pytest.mark.parametrize("size", [(32, 48), (29, 51), (7, 9)])
def test_scores_have_the_size_of_the_image(tiny_cfg, make_input, size, output):
    tiny_cfg.MODEL.SEGVIT.OUTPUT = output
    model = build(tiny_cfg)
    (scores,) = segment(model, without_labels(make_input(*size)))
    assert scores.shape == (NUM_CLASSES, *size) and scores.dtype == torch.float32
    assert scores.min() >= 0 and scores.max() <= (1 if output == "diagonal" else NUM_CLASSES)
    assert scores.std() > 0


@pytest.mark.parametrize("output_size", [(64, 96), (15, 22), (29, 43)])
def test_scores_are_resized_to_the_output_size_after_the_padding_is_cut_off(tiny_cfg, make_input, output_size):
    model, inputs = build(tiny_cfg), without_labels(make_input(29, 43))
    (at_image_size,) = segment(model, inputs)
    (scores,) = segment(model, inputs | {"height": output_size[0], "width": output_size[1]})
    expected = F.interpolate(at_image_size[None], output_size, mode="bilinear", align_corners=False)[0]
    assert scores.shape == (NUM_CLASSES, *output_size)
    torch.testing.assert_close(scores, expected)


@pytest.mark.parametrize("output", ["mix", "diagonal"])
def test_a_batch_equals_one_by_one(tiny_cfg, make_input, output):
    tiny_cfg.MODEL.SEGVIT.OUTPUT = output
    model = build(tiny_cfg)
    sizes = [(32, 48), (29, 43), (40, 24), (31, 47)]  # the first, second and fourth pad to the same size
    batch = [without_labels(make_input(*size, seed=seed)) for seed, size in enumerate(sizes)]
    batch[3] |= {"height": 50, "width": 20}
    together = segment(model, *batch)
    for inputs, scores in zip(batch, together, strict=True):
        torch.testing.assert_close(scores, segment(model, inputs)[0], rtol=1e-5, atol=1e-5)


def test_inputs_are_not_modified(tiny_cfg, make_input):
    model, inputs, untouched = build(tiny_cfg), make_input(29, 43), make_input(29, 43)
    segment(model, inputs)
    model.train()([inputs])
    assert set(inputs) == set(untouched)
    assert torch.equal(inputs["image"], untouched["image"]) and torch.equal(inputs["sem_seg"], untouched["sem_seg"])


def pad_by_hand(inputs, size, mean):
    """An image whose border is zero after normalization and ignored in the labels."""
    height, width = inputs["sem_seg"].shape
    image = torch.tensor(mean)[:, None, None].repeat(1, *size)
    image[:, :height, :width] = inputs["image"]
    sem_seg = torch.full(size, IGNORED)
    sem_seg[:height, :width] = inputs["sem_seg"]
    return {"image": image, "sem_seg": sem_seg}


@pytest.mark.parametrize("exclude", [False, True])
@pytest.mark.parametrize(
    ("sizes", "padded"),
    [([(24, 40)], (32, 48)), ([(29, 43), (32, 17)], (32, 48)), ([(37, 43), (32, 60)], (40, 64))],
)
def test_training_pads_to_the_training_size(tiny_cfg, make_input, sizes, padded, exclude):
    """To MODEL.VIT.IMG_SIZE, or to whole patches that hold a larger image."""
    tiny_cfg.MODEL.SEGVIT.EXCLUDE_IGNORED_PIXELS = exclude
    model = build(tiny_cfg).train()
    inputs = [make_input(*size, seed=seed) for seed, size in enumerate(sizes)]
    padded_inputs = [pad_by_hand(image, padded, list(tiny_cfg.MODEL.PIXEL_MEAN)) for image in inputs]
    expected = model(padded_inputs)
    for name, loss in model(inputs).items():
        torch.testing.assert_close(loss, expected[name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("others", [0, 1])
def test_images_without_labels_have_finite_losses(tiny_cfg, make_input, others):
    model = build(tiny_cfg).train()
    losses = model([make_input(24, 40, ids=(IGNORED,)), *(make_input(32, 48) for _ in range(others))])
    assert set(losses) == LOSSES
    assert (losses["loss_mask"] == 0) == (others == 0)
    sum(losses.values()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name


def test_default_predictor_equals_the_model(tiny_cfg, bgr_image, tmp_path):
    model = build(tiny_cfg)
    torch.save({"model": model.state_dict()}, tmp_path / "model.pth")
    tiny_cfg.MODEL.WEIGHTS = str(tmp_path / "model.pth")
    torch.manual_seed(1)  # other weights than those of the checkpoint
    scores = DefaultPredictor(tiny_cfg)(bgr_image)["sem_seg"]
    rgb = torch.from_numpy(bgr_image[:, :, ::-1].copy()).permute(2, 0, 1)
    torch.testing.assert_close(scores, segment(model, {"image": rgb})[0])
    assert scores.shape == (NUM_CLASSES, *bgr_image.shape[:2])


def test_default_predictor_returns_scores_of_the_image_size_after_a_resize(tiny_cfg, bgr_image, tmp_path):
    torch.save({"model": build(tiny_cfg).state_dict()}, tmp_path / "model.pth")
    tiny_cfg.MODEL.WEIGHTS, tiny_cfg.INPUT.MIN_SIZE_TEST = str(tmp_path / "model.pth"), 60
    assert DefaultPredictor(tiny_cfg)(bgr_image)["sem_seg"].shape == (NUM_CLASSES, *bgr_image.shape[:2])


def test_checkpoints_hold_parameters_only(tiny_cfg):
    """Loss weights and pixel statistics come from the config, not from a checkpoint."""
    model = build(tiny_cfg)
    assert set(model.state_dict()) == {name for name, _ in model.named_parameters()}
    assert {name.partition(".")[0] for name in model.state_dict()} == {"backbone", "sem_seg_head"}


def test_unknown_in_features_are_refused(tiny_cfg):
    tiny_cfg.MODEL.SEM_SEG_HEAD.IN_FEATURES = ["block2", "block0", "res5"]
    with pytest.raises(ValueError, match=r"IN_FEATURES .*\['block0', 'res5'\].*\['block1', 'block2'\]"):
        build(tiny_cfg)


def test_stages_in_another_order_are_refused(tiny_cfg):
    """Detectron2's heads list the shallowest stage first; in that order the decoder would be another one."""
    tiny_cfg.MODEL.SEM_SEG_HEAD.IN_FEATURES = ["block1", "block2"]
    with pytest.raises(ValueError, match=r"IN_FEATURES .*deepest stage first: set \['block2', 'block1'\]"):
        build(tiny_cfg)
