"""Parity of the decoder, its losses and gradients with the official SegViT v1 release, for everyone.

`recording.npz` holds outputs of the official decoder with random weights; `cut_recording.py` has written it. Larger
recordings, with the encoder, Shrunk and sliding windows, are compared in `test_official_parity.py`.

Shape shorthand: S stages, B images, K classes, h x w tokens.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from helpers.targets import mask_targets
from segvit.modeling.decoder.decoder_builder import build_decoder
from segvit.modeling.losses.criterion import SegViTCriterion
from segvit.modeling.postprocessing.semantic_inference import SemanticInference
from segvit.modeling.weights.official_names import decoder_name

STEP = 8  # Full-size maps were recorded at every eighth pixel.


@pytest.fixture(scope="module")
def recording():
    with np.load(Path(__file__).with_name("recording.npz"), allow_pickle=False) as arrays:
        return {
            name: array.astype(str) if array.dtype.kind == "S" else torch.from_numpy(array)
            for name, array in arrays.items()
        }


@pytest.fixture
def decoder(recording):
    """Our decoder with the recorded weights: three stages of two layers, width 24, seven classes."""
    _, _, num_classes, _ = recording["pred_logits"].shape
    stages = recording["stages"]
    decoder = build_decoder(
        in_dims=[stages.shape[2]] * len(stages),
        grid_size=tuple(stages.shape[-2:]),
        query_upsampling="none",
        upsampling_layers=1,
        num_classes=num_classes,
        hidden_dim=24,
        num_layers=2,
        num_heads=3,
    )
    parameters, start = dict(decoder.named_parameters()), 0
    for official in recording["names"]:
        parameter = parameters.pop(decoder_name(official, shrunk=False))
        values = recording["weights"][start : start + parameter.numel()]
        parameter.data.copy_(values.view_as(parameter))
        start += parameter.numel()
    assert not parameters and start == len(recording["weights"])
    return decoder


def decode(decoder, recording):
    return decoder(list(recording["stages"].flip(0)))  # deepest first


@torch.no_grad()
def test_scores_equal_the_recording(assert_parity, decoder, recording):
    labels = recording["labels"]
    scores = SemanticInference("mix")(decode(decoder.eval(), recording), tuple(labels.shape[-2:]))
    assert_parity(scores[..., ::STEP, ::STEP], recording["eval_pred"], "eval_pred")


@torch.no_grad()
def test_training_outputs_equal_the_recording(assert_parity, decoder, recording):
    outputs = decode(decoder.train(), recording)
    for stage, output in enumerate([*outputs["aux_outputs"], outputs]):
        assert_parity(output["pred_logits"], recording["pred_logits"][stage], f"pred_logits of stage {stage}")
    for stage, output in enumerate(outputs["aux_outputs"]):
        assert_parity(output["pred_masks"], recording["aux_masks"][stage], f"pred_masks of stage {stage}")
    size = tuple(recording["labels"].shape[-2:])
    masks = torch.nn.functional.interpolate(outputs["pred_masks"], size, mode="bilinear")
    assert_parity(masks[..., ::STEP, ::STEP], recording["pred_masks"], "pred_masks")


def test_losses_and_gradients_equal_the_recording(assert_parity, decoder, recording):
    with sdpa_kernel(SDPBackend.MATH):  # fused attention approximates exp, which moves the smallest gradients
        outputs = decode(decoder.train(), recording)
        losses = SegViTCriterion(num_classes=outputs["pred_masks"].shape[1])(
            outputs, mask_targets(recording["labels"].long())
        )
        sum(losses.values()).backward()
    assert sorted(losses) == sorted(recording["loss_names"])
    for name, value in zip(recording["loss_names"], recording["losses"], strict=True):
        assert_parity(losses[name].detach(), value, name)
    parameters = dict(decoder.named_parameters())
    norms = dict(zip(recording["names"], recording["grad_norms"], strict=True))
    compared = 0
    for official, norm in norms.items():
        # The gradient of a key's bias is zero up to rounding, because the softmax ignores a shift of all similarities.
        weight_norm = norms.get(official.removesuffix("bias") + "weight", norm)
        if norm > 1e-5 * weight_norm:
            assert_parity(parameters[decoder_name(official, shrunk=False)].grad.norm(), norm, official)
            compared += 1
    assert compared > 0.9 * len(norms)
