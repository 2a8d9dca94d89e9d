"""The meta-architecture: losses, results, sizes, padding, windows and Detectron2's predictor.

Shape shorthand: B images, H x W pixels, K classes.
"""

import pytest
import torch
from detectron2.engine import DefaultPredictor
from detectron2.modeling import build_model

from helpers.labels import assert_labels_are_argmax

NUM_CLASSES, IGNORED = 5, 255
LOSSES = {f"{name}{suffix}" for name in ("loss_ce", "loss_mask", "loss_dice") for suffix in ("", "_0")}


def build(cfg):
    torch.manual_seed(0)
    return build_model(cfg).eval()


@torch.no_grad()
def segment(model, *inputs):
    return [result["sem_seg"] for result in model(list(inputs))]


def without_labels(inputs, **size):
    return {"image": inputs["image"], **size}


def test_training_returns_the_weighted_losses(tiny_cfg, make_input):
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
@pytest.mark.parametrize("size", [(32, 48), (40, 24), (29, 51), (7, 9)])
def test_inference_returns_scores(tiny_cfg, make_input, size, output):
    tiny_cfg.MODEL.SEGVIT.OUTPUT = output
    model = build(tiny_cfg)
    (scores,) = segment(model, without_labels(make_input(*size)))
    assert scores.shape == (NUM_CLASSES, *size) and scores.dtype == torch.float32
    assert scores.min() >= 0 and scores.max() <= (1 if output == "diagonal" else NUM_CLASSES)
    assert scores.std() > 0


@pytest.mark.parametrize("requested", [(64, 96), (15, 22), (29, 43)])
def test_scores_come_at_the_requested_size(tiny_cfg, make_input, requested):
    """Padding is cut off before the resize."""
    model, inputs = build(tiny_cfg), without_labels(make_input(29, 43))
    (at_image_size,) = segment(model, inputs)
    (scores,) = segment(model, inputs | {"height": requested[0], "width": requested[1]})
    expected = torch.nn.functional.interpolate(at_image_size[None], requested, mode="bilinear", align_corners=False)[0]
    assert scores.shape == (NUM_CLASSES, *requested)
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


def padded_by_hand(inputs, size, mean):
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
    by_hand = [padded_by_hand(image, padded, list(tiny_cfg.MODEL.PIXEL_MEAN)) for image in inputs]
    expected = model(by_hand)
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


def test_default_predictor_resizes(tiny_cfg, bgr_image, tmp_path):
    torch.save({"model": build(tiny_cfg).state_dict()}, tmp_path / "model.pth")
    tiny_cfg.MODEL.WEIGHTS, tiny_cfg.INPUT.MIN_SIZE_TEST = str(tmp_path / "model.pth"), 60
    assert DefaultPredictor(tiny_cfg)(bgr_image)["sem_seg"].shape == (NUM_CLASSES, *bgr_image.shape[:2])


def test_checkpoints_hold_parameters_alone(tiny_cfg):
    """Loss weights and pixel statistics come from the config, not from a checkpoint."""
    model = build(tiny_cfg)
    assert set(model.state_dict()) == {name for name, _ in model.named_parameters()}
    assert {name.partition(".")[0] for name in model.state_dict()} == {"backbone", "sem_seg_head"}


def test_unknown_in_features_are_refused(tiny_cfg):
    tiny_cfg.MODEL.SEM_SEG_HEAD.IN_FEATURES = ["block2", "block0", "res5"]
    with pytest.raises(ValueError, match=r"IN_FEATURES .*\['block0', 'res5'\].*\['block1', 'block2'\]"):
        build(tiny_cfg)


def test_in_features_set_the_order_of_the_stages(tiny_cfg, make_input):
    inputs = without_labels(make_input(32, 48))
    (deepest_first,) = segment(build(tiny_cfg), inputs)
    tiny_cfg.MODEL.SEM_SEG_HEAD.IN_FEATURES = ["block1", "block2"]
    (deepest_last,) = segment(build(tiny_cfg), inputs)
    assert not torch.allclose(deepest_first, deepest_last, atol=1e-3)


WINDOWS = {"SIZE": [32, 48], "STRIDE": [21, 32]}


def use_windows(cfg, **settings):
    window = cfg.TEST.WINDOW
    window.ENABLED = True
    for name, value in (WINDOWS | settings).items():
        window[name] = value


@pytest.mark.parametrize("size", [(53, 90), (32, 48), (29, 90), (70, 31), (7, 9), (64, 96)])
def test_windows_equal_a_plain_average(tiny_cfg, make_input, size):
    """Segment every window as a single image and average by hand; the last ones end at the border."""
    whole, inputs = build(tiny_cfg), without_labels(make_input(*size))
    use_windows(tiny_cfg)
    (scores,) = segment(build(tiny_cfg), inputs)
    total, count = torch.zeros(NUM_CLASSES, *size), torch.zeros(size)
    for top in range(0, max(size[0] - 32, 0) + 21, 21):
        for left in range(0, max(size[1] - 48, 0) + 32, 32):
            bottom, right = min(top + 32, size[0]), min(left + 48, size[1])
            rows, columns = slice(max(bottom - 32, 0), bottom), slice(max(right - 48, 0), right)
            if top - rows.start >= 21 or left - columns.start >= 32:
                continue  # the window before it reached the border
            total[:, rows, columns] += segment(whole, {"image": inputs["image"][:, rows, columns]})[0]
            count[rows, columns] += 1
    torch.testing.assert_close(scores, total / count)


@pytest.mark.parametrize("size", [(32, 48), (29, 43), (7, 9)])
def test_one_window_equals_the_whole_image(tiny_cfg, make_input, size):
    inputs = without_labels(make_input(*size), height=60, width=50)
    (whole,) = segment(build(tiny_cfg), inputs)
    use_windows(tiny_cfg)
    torch.testing.assert_close(segment(build(tiny_cfg), inputs)[0], whole)


@pytest.mark.parametrize("batch_size", [1, 3, 100])
@pytest.mark.parametrize("on_cpu", [False, True])
def test_batches_of_windows_equal_one_by_one(tiny_cfg, make_input, batch_size, on_cpu):
    sizes = [(53, 90), (29, 43), (53, 90)]
    inputs = [without_labels(make_input(*size, seed=seed)) for seed, size in enumerate(sizes)]
    use_windows(tiny_cfg)
    expected = [segment(build(tiny_cfg), one)[0] for one in inputs]
    use_windows(tiny_cfg, BATCH_SIZE=batch_size, ACCUMULATE_ON_CPU=on_cpu)
    for scores, one in zip(segment(build(tiny_cfg), *inputs), expected, strict=True):
        torch.testing.assert_close(scores, one, rtol=1e-5, atol=1e-5)


def test_windows_do_not_change_training(tiny_cfg, make_input):
    plain = build(tiny_cfg).train()([make_input(32, 48)])
    use_windows(tiny_cfg)
    assert build(tiny_cfg).train()([make_input(32, 48)]) == plain


@pytest.mark.parametrize("output", ["mix", "diagonal"])
@pytest.mark.parametrize("windows", [False, True])
@pytest.mark.parametrize("requested", [(53, 90), (80, 120), (20, 31)])
def test_labels_only_are_the_argmax_of_the_scores(tiny_cfg, make_input, monkeypatch, windows, requested, output):
    """By bands, and by pruning for "diagonal" without windows."""
    tiny_cfg.MODEL.SEGVIT.OUTPUT = output
    monkeypatch.setattr("segvit.modeling.postprocessing.score_bands.ELEMENTS_PER_BAND", 7 * NUM_CLASSES * requested[1])
    if windows:
        use_windows(tiny_cfg)
    inputs = without_labels(make_input(53, 90), height=requested[0], width=requested[1])
    (scores,) = segment(build(tiny_cfg), inputs)
    tiny_cfg.TEST.LABELS_ONLY = True
    with torch.no_grad():
        (result,) = build(tiny_cfg)([inputs])
    assert set(result) == {"sem_seg_labels"}
    assert result["sem_seg_labels"].dtype == torch.int64
    assert_labels_are_argmax(result["sem_seg_labels"], scores)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"STRIDE": [33, 32]}, r"TEST\.WINDOW\.STRIDE \[33, 32\] .* leave gaps"),
        ({"STRIDE": [0, 32]}, r"TEST\.WINDOW\.STRIDE \[0, 32\]"),
        ({"SIZE": [32]}, r"TEST\.WINDOW\.SIZE \[32\]"),
        ({"BATCH_SIZE": 0}, r"TEST\.WINDOW\.BATCH_SIZE 0 must be at least 1"),
    ],
)
def test_windows_that_leave_gaps_are_refused(tiny_cfg, settings, message):
    use_windows(tiny_cfg, **settings)
    with pytest.raises(ValueError, match=message):
        build_model(tiny_cfg)


def use_shrunk_pp(cfg, **edge):
    """Reduction at block 1 of 3, with the threshold at the median of random scores by default."""
    vit = cfg.MODEL.VIT
    vit.REDUCTION, vit.REDUCTION_BLOCK, vit.OUT_INDICES = "shrunk++", 1, [0, 2]
    vit.EDGE.THRESHOLD = 0.5
    for key, value in edge.items():
        vit.EDGE[key] = value
    cfg.MODEL.SEM_SEG_HEAD.IN_FEATURES = ["block2", "block0"]
    cfg.MODEL.SEGVIT.QUERY_UPSAMPLING, cfg.MODEL.SEGVIT.UPSAMPLING_LAYERS = "nearest", 1


@pytest.mark.parametrize("selection", ["threshold", "topk"])
def test_shrunk_pp_trains_every_parameter(tiny_cfg, make_input, selection):
    use_shrunk_pp(tiny_cfg, SELECTION=selection)
    tiny_cfg.MODEL.SEGVIT.NUM_LAYERS = 2
    model = build(tiny_cfg).train()
    losses = model([make_input(32, 48), make_input(29, 48, seed=1)])
    assert set(losses) == LOSSES | {"loss_edge"}
    assert all(loss.isfinite() and loss > 0 for loss in losses.values())
    sum(losses.values()).backward()
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []


def test_shrunk_pp_losses_of_images_without_labels_are_finite(tiny_cfg, make_input):
    use_shrunk_pp(tiny_cfg)
    losses = build(tiny_cfg).train()([make_input(32, 48, ids=(IGNORED,)), make_input(32, 48, seed=1, ids=(IGNORED,))])
    assert losses["loss_edge"] == 0 and all(loss.isfinite() for loss in losses.values())
    sum(losses.values()).backward()


@pytest.mark.parametrize("selection", ["threshold", "topk"])
def test_shrunk_pp_batch_equals_one_by_one(tiny_cfg, make_input, selection):
    use_shrunk_pp(tiny_cfg, SELECTION=selection)
    model = build(tiny_cfg)
    inputs = [without_labels(make_input(*size, seed=seed)) for seed, size in enumerate([(32, 48), (32, 48), (41, 23)])]
    for batched, image in zip(segment(model, *inputs), inputs, strict=True):
        torch.testing.assert_close(batched, *segment(model, image), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("upsampling", "in_features"), [("none", ["block2", "block0"]), ("nearest", ["block0", "block2"])]
)
def test_tokens_on_no_grid_are_refused_as_maps(tiny_cfg, upsampling, in_features):
    use_shrunk_pp(tiny_cfg)
    tiny_cfg.MODEL.SEGVIT.QUERY_UPSAMPLING, tiny_cfg.MODEL.SEM_SEG_HEAD.IN_FEATURES = upsampling, in_features
    with pytest.raises(ValueError, match=r"IN_FEATURES: \['block2'\] come after the reduction .* set MODEL\.SEGVIT"):
        build(tiny_cfg)
