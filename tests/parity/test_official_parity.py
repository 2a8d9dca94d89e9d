"""Numerical parity with the official SegViT v1 release, by its recorded outputs.

SEGVIT_PARITY_FIXTURES names the folder of the recordings. Each recorded model is built from the recording's config;
each output must agree within 1e-5 of its maximum.
"""

import os
from pathlib import Path

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from helpers.targets import mask_targets
from segvit.modeling.decoder.decoder_builder import build_decoder
from segvit.modeling.encoder.vit_builder import build_vit_encoder
from segvit.modeling.losses.criterion import SegViTCriterion
from segvit.modeling.postprocessing.semantic_inference import SemanticInference
from segvit.modeling.token_reduction.reduction_builder import ReductionConfig
from segvit.modeling.tokens import map_to_tokens
from segvit.modeling.weights.official_names import NOT_A_WEIGHT, decoder_name, encoder_name

FOLDER = os.environ.get("SEGVIT_PARITY_FIXTURES", "")
IGNORED = 255


def load(path):
    return torch.load(path, map_location="cpu", weights_only=True)


FIXTURES = {path.stem: load(path) for path in sorted(Path(FOLDER).glob("*.pt"))} if FOLDER else {}
MODELS = [pytest.param(fixture, id=name) for name, fixture in FIXTURES.items() if "backbone" in fixture["config"]]
ENCODER_CASES = [
    pytest.param(fixture["config"], fixture["state_dict"], case, id=f"{name}-{size}")
    for name, fixture in FIXTURES.items()
    if "cases" in fixture
    for size, case in fixture["cases"].items()
] + [
    pytest.param(case["config"], case["state_dict"], case, id=f"{name}-with_cls_final_norm")
    for name, fixture in FIXTURES.items()
    if (case := fixture.get("with_cls_final_norm"))
]

pytestmark = pytest.mark.skipif(
    not FIXTURES, reason="NO PARITY CHECK: SEGVIT_PARITY_FIXTURES names no folder with recordings of the official code"
)


def test_parity_folder_contains_recordings_of_models_and_encoders():
    assert MODELS and ENCODER_CASES


def build_encoder(config, state_dict):
    encoder = build_vit_encoder(
        name="vit_tiny_patch16_224",
        img_size=tuple(config["img_size"]),
        out_indices=list(config["out_indices"]),
        keep_prefix_tokens=config["with_cls_token"],
        final_norm=config["final_norm"],
        reduction=ReductionConfig(kind="shrunk", block_index=config["shrink_idx"]) if "shrink_idx" in config else None,
        patch_size=config["patch_size"],
        embed_dim=config["embed_dims"],
        depth=config["num_layers"],
        num_heads=config["num_heads"],
        mlp_ratio=config["mlp_ratio"],
        qkv_bias=config["qkv_bias"],
    )
    encoder.load_state_dict({encoder_name(name): tensor for name, tensor in state_dict.items()})
    return encoder.eval()


def build_head(config, state_dict, patch_size):
    shrunk = config["type"] == "TPNATMHead"
    decoder = build_decoder(
        in_dims=[config["in_channels"]] * config["use_stages"],
        grid_size=(config["img_size"] // patch_size,) * 2,
        query_upsampling="learned" if shrunk else "none",
        num_classes=config["num_classes"],
        hidden_dim=config["embed_dims"],
        num_layers=config["num_layers"],
        upsampling_layers=config["num_layers"],
        num_heads=config["num_heads"],
    )
    weights = {name: tensor for name, tensor in state_dict.items() if not NOT_A_WEIGHT.search(name)}
    decoder.load_state_dict({decoder_name(name, shrunk=shrunk): tensor for name, tensor in weights.items()})
    return decoder.eval()


def below(state_dict, prefix):
    return {name.removeprefix(prefix): tensor for name, tensor in state_dict.items() if name.startswith(prefix)}


def build_model(fixture):
    config, state_dict = fixture["config"], fixture["state_dict"]
    encoder = build_encoder(config["backbone"], below(state_dict, "backbone."))
    decoder = build_head(config["decode_head"], below(state_dict, "decode_head."), config["backbone"]["patch_size"])
    return encoder, decoder


def decode(decoder, features):
    return decoder(list(features.values())[::-1])  # deepest first


@pytest.mark.parametrize(("config", "state_dict", "case"), ENCODER_CASES)
@torch.no_grad()
def test_parity_of_the_encoder_at_other_sizes(assert_parity, config, state_dict, case):
    features = build_encoder(config, state_dict)(case["input"])
    for (name, stage), expected in zip(features.items(), case["backbone_outs"], strict=True):
        assert_parity(stage, expected, name)


@pytest.mark.parametrize("fixture", MODELS)
@torch.no_grad()
def test_parity_of_features_and_scores(assert_parity, fixture):
    encoder, decoder = build_model(fixture)
    features = encoder(fixture["input"])
    for (name, stage), expected in zip(features.items(), fixture["backbone_outs"], strict=True):
        # Official Shrunk stages are token sequences, ours are maps of the same tokens.
        assert_parity(stage if expected.ndim == 4 else map_to_tokens(stage), expected, name)
    scores = SemanticInference("mix")(decode(decoder, features), fixture["input"].shape[-2:])
    assert_parity(scores, fixture["eval_pred"], "eval_pred")
    assert torch.equal(scores.argmax(1).to(torch.uint8), fixture["eval_argmax"])


@pytest.mark.parametrize("fixture", MODELS)
@torch.no_grad()
def test_parity_of_training_outputs(assert_parity, fixture):
    encoder, decoder = build_model(fixture)
    outputs = decode(decoder.train(), encoder(fixture["input"]))
    expected = fixture["train"]
    assert_parity(outputs["pred_logits"], expected["pred_logits"], "pred_logits")
    masks = torch.nn.functional.interpolate(outputs["pred_masks"], fixture["input"].shape[-2:], mode="bilinear")
    assert_parity(masks, expected["pred_masks"], "pred_masks")
    for index, (stage, expected_stage) in enumerate(zip(outputs["aux_outputs"], expected["aux_outputs"], strict=True)):
        for name in ("pred_logits", "pred_masks"):
            assert_parity(stage[name], expected_stage[name], f"aux {index} {name}")


@pytest.mark.parametrize(
    ("labels", "losses"), [("label", "losses"), ("label_img1_all_ignore", "losses_img1_all_ignore")]
)
@pytest.mark.parametrize("fixture", MODELS)
@torch.no_grad()
def test_parity_of_losses(assert_parity, fixture, labels, losses):
    encoder, decoder = build_model(fixture)
    outputs = decode(decoder.train(), encoder(fixture["input"]))
    criterion = SegViTCriterion(num_classes=fixture["config"]["decode_head"]["num_classes"])
    actual = criterion(outputs, mask_targets(fixture[labels]))
    expected = {name: value for name, value in fixture[losses].items() if name.startswith("loss")}
    assert actual.keys() == expected.keys()
    for name, value in actual.items():
        assert_parity(value, expected[name].reshape(()), name)
    assert_parity(sum(actual.values()), fixture[losses]["total"].reshape(()), "total")


@pytest.mark.parametrize("fixture", MODELS)
def test_parity_of_gradients(assert_parity, fixture):
    """Gradients of the total loss, with unfused attention.

    PyTorch's fused CPU attention approximates exp to about 20 units in the last place, which changes the smallest
    gradients (the bias of one query projection) by up to 2e-5 of their maximum.
    """
    encoder, decoder = build_model(fixture)
    with sdpa_kernel(SDPBackend.MATH):
        outputs = decode(decoder.train(), encoder(fixture["input"]))
        criterion = SegViTCriterion(num_classes=fixture["config"]["decode_head"]["num_classes"])
        sum(criterion(outputs, mask_targets(fixture["label"])).values()).backward()
    gradients = {f"backbone.{name}": parameter.grad for name, parameter in encoder.named_parameters()}
    gradients |= {f"decode_head.{name}": parameter.grad for name, parameter in decoder.named_parameters()}
    checked = 0
    for official, norm in fixture["grad_norm"].items():
        prefix, _, name = official.partition(".")
        shrunk = "shrink_idx" in fixture["config"]["backbone"]
        our_name = encoder_name(name) if prefix == "backbone" else decoder_name(name, shrunk=shrunk)
        gradient = gradients[f"{prefix}.{our_name}"]
        weight_norm = fixture["grad_norm"].get(official.removesuffix("bias") + "weight", norm)
        if norm <= 1e-5 * weight_norm:
            # The bias of the keys adds the same number to all similarities of a query, which the softmax ignores. Its
            # gradient is zero; both codes hold rounding noise.
            assert gradient.norm() <= 1e-5 * max(weight_norm, 1e-12), official
            continue
        assert_parity(gradient.norm(), torch.tensor(norm), official)
        if official in fixture["grads_small"]:
            assert_parity(gradient, fixture["grads_small"][official], official)
        checked += 1
    assert checked > 0.9 * len(fixture["grad_norm"])
