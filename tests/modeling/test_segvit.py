"""The model without Detectron2: built in one call, run on raw images, with the weights of the Detectron2 model.

Shape shorthand: H x W pixels, K classes.
"""

import pytest
import torch
import torch.nn.functional as F
from detectron2.modeling import build_model

from helpers.labels import assert_labels_are_argmax
from segvit.errors import ArgumentError
from segvit.modeling import build_segvit
from segvit.modeling.build_segvit import weights_from_detectron2
from segvit.modeling.token_reduction.reduction_builder import ReductionConfig

NUM_CLASSES = 5
SIZES = [(32, 48), (29, 43), (40, 24)]
TINY = {
    "num_classes": NUM_CLASSES,
    "encoder_name": "vit_tiny_patch16_224",
    "img_size": (32, 48),
    "out_indices": [1, 2],
    "patch_size": 8,
    "embed_dim": 48,
    "depth": 3,
    "num_heads": 3,
    "decoder_dim": 24,
    "decoder_layers": 1,
    "decoder_heads": 2,
    "pixel_mean": [120.0, 115.0, 105.0],
    "pixel_std": [60.0, 57.0, 58.0],
}


def tiny_model(**keys):
    torch.manual_seed(0)
    return build_segvit(**(TINY | keys)).eval()


def images():
    generator = torch.Generator().manual_seed(0)
    return [torch.randint(256, (3, *size), generator=generator, dtype=torch.uint8) for size in SIZES]


def test_forward_returns_the_documented_outputs():
    model = tiny_model().train()
    outputs = model(torch.stack([images()[0]] * 2))
    assert outputs["pred_logits"].shape == (2, NUM_CLASSES, NUM_CLASSES + 1)
    assert outputs["pred_masks"].shape == (2, NUM_CLASSES, 4, 6)
    assert [set(stage) for stage in outputs["aux_outputs"]] == [{"pred_logits", "pred_masks"}]
    assert model.eval()(images()[1:2])["aux_outputs"] == []


@torch.no_grad()
def test_scores_of_any_sizes_equal_one_by_one():
    model = tiny_model()
    together = model.scores(images())
    for image, scores in zip(images(), together, strict=True):
        assert scores.shape == (NUM_CLASSES, *image.shape[1:])
        torch.testing.assert_close(scores, model.scores([image])[0], rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_scores_at_an_output_size_are_resized_after_the_padding_is_cut_off():
    model, image = tiny_model(), images()[1]
    (scores,) = model.scores([image], [(50, 30)])
    expected = F.interpolate(model.scores([image])[0][None], (50, 30), mode="bilinear", align_corners=False)[0]
    torch.testing.assert_close(scores, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("output", ["mix", "diagonal", "softmax"])
@torch.no_grad()
def test_labels_are_the_argmax_of_the_scores(output):
    model, output_sizes = tiny_model(output=output), [(50, 30), (29, 43), (7, 90)]
    labels = model.labels(images(), output_sizes, dtype=torch.uint8)
    assert {one.dtype for one in labels} == {torch.uint8}
    for one, scores in zip(labels, model.scores(images(), output_sizes), strict=True):
        assert_labels_are_argmax(one, scores)


@torch.no_grad()
def test_statistics_may_be_whole_numbers():
    whole = {"pixel_mean": [120, 115, 105], "pixel_std": [60, 57, 58]}
    for scores, expected in zip(tiny_model(**whole).scores(images()), tiny_model().scores(images()), strict=True):
        assert torch.equal(scores, expected)


@pytest.mark.parametrize("query_upsampling", ["none", "nearest"])
def test_tokens_that_are_no_map_are_refused(query_upsampling):
    reduction = ReductionConfig(kind="shrunk++", block_index=1)
    with pytest.raises(ArgumentError, match=r"^out_indices .*'block1'\] .*`query_upsampling` 'nearest'"):
        tiny_model(reduction=reduction, query_upsampling=query_upsampling)
    tiny_model(reduction=reduction, query_upsampling="nearest", out_indices=[0, 2])


def test_nearest_upsampling_of_stages_of_one_grid_is_refused():
    with pytest.raises(ArgumentError, match=r"^query_upsampling 'nearest' .*\['block2', 'block1'\] are \[8, 8\]"):
        tiny_model(query_upsampling="nearest")


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("encoder_name", "vit_bse"),
        ("out_indices", [7]),
        ("decoder_heads", 5),
        ("detail", "pixels"),
        ("detail", "stem"),
        ("detail_dim", 3),
        ("detail_stride", 3),
        ("output", "best"),
    ],
)
def test_errors_name_the_argument_of_build_segvit(argument, value):
    with pytest.raises(ArgumentError, match=f"^{argument} "):
        tiny_model(**{"detail": "image", argument: value})


@pytest.mark.parametrize("encoder_weight", [0.0, 0.5])
@torch.no_grad()
def test_weights_of_the_detectron2_model_give_its_scores(encoder_weight, tiny_cfg, make_input):
    tiny_cfg.MODEL.SEGVIT.ENCODER_WEIGHT = encoder_weight
    reference = build_model(tiny_cfg).eval()
    model = tiny_model()
    model.load_state_dict(weights_from_detectron2(reference.state_dict()))
    inputs = [make_input(*size) for size in SIZES]
    for scores, result in zip(model.scores([one["image"] for one in inputs]), reference(inputs), strict=True):
        torch.testing.assert_close(scores, result["sem_seg"], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("upsampling", ["none", "learned"])
@torch.no_grad()
def test_a_stage_after_shrunk_alone_is_read_as_by_the_detectron2_model(upsampling, tiny_cfg):
    """Its masks, and learned queries, lie on a grid of half the rows and columns."""
    vit, segvit = tiny_cfg.MODEL.VIT, tiny_cfg.MODEL.SEGVIT
    vit.REDUCTION, vit.REDUCTION_BLOCK, vit.OUT_INDICES = "shrunk", 1, [2]
    tiny_cfg.MODEL.SEM_SEG_HEAD.IN_FEATURES = ["block2"]
    segvit.QUERY_UPSAMPLING, segvit.DETAIL.SOURCE = upsampling, "tokens"
    reference = build_model(tiny_cfg).eval()
    torch.nn.init.ones_(reference.sem_seg_head.decoder.detail.query_proj.weight)
    reduction = ReductionConfig(kind="shrunk", block_index=1)
    model = tiny_model(reduction=reduction, out_indices=[2], query_upsampling=upsampling, detail="tokens")
    model.load_state_dict(weights_from_detectron2(reference.state_dict()))
    masks, expected = (network(images()[:1])["pred_masks"] for network in (model, reference.network))
    assert masks.shape[2:] == (8, 12) and torch.equal(masks, expected)


@torch.no_grad()
def test_the_detectron2_model_runs_the_same_network(tiny_cfg, make_input):
    """Modules are shared, and saved under one name only."""
    reference = build_model(tiny_cfg).eval()
    assert {name.partition(".")[0] for name in reference.state_dict()} == {"backbone", "sem_seg_head"}
    (scores,) = reference.network.scores([make_input(29, 43)["image"]])
    assert torch.equal(scores, reference([make_input(29, 43)])[0]["sem_seg"])
