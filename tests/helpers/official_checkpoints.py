"""Tiny checkpoints in the format of the official SegViT release: three blocks of width 24, two stages, K = 5."""

import torch

from segvit.modeling.decoder.decoder_builder import build_decoder
from segvit.modeling.encoder.vit_builder import build_vit_encoder
from segvit.modeling.token_reduction.reduction_builder import ReductionConfig
from segvit.modeling.weights.official_checkpoint import DECODER, ENCODER, to_official

# Class weights of the loss, which official checkpoints hold beside the parameters: all have the first, Shrunk has both.
LOSS_BUFFER = "decode_head.loss_decode.criterion.empty_weight"
SHRUNK_LOSS_BUFFER = "decode_head.atm.loss_decode.criterion.empty_weight"


def our_state(*, shrunk, seed=0, num_classes=5):
    """The state dict of our model."""
    torch.manual_seed(seed)
    encoder = build_vit_encoder(
        name="vit_tiny_patch16_224",
        img_size=(64, 64),
        out_indices=[0, 2],
        keep_prefix_tokens=False,
        reduction=ReductionConfig(kind="shrunk", block_index=1) if shrunk else None,
        embed_dim=24,
        depth=3,
        num_heads=2,
    )
    decoder = build_decoder(
        in_dims=[24, 24],
        grid_size=(4, 4),
        query_upsampling="learned" if shrunk else "none",
        num_classes=num_classes,
        hidden_dim=16,
        num_layers=2,
        upsampling_layers=2,
        num_heads=2,
    )
    state = {ENCODER + name: tensor for name, tensor in encoder.state_dict().items()}
    return state | {DECODER + name: tensor for name, tensor in decoder.state_dict().items()}


def official_content(*, shrunk, num_classes=5):
    """The content of an official file, with loss weights other than the default."""
    content = to_official({"model": our_state(shrunk=shrunk, num_classes=num_classes)})
    for name in [LOSS_BUFFER, SHRUNK_LOSS_BUFFER] if shrunk else [LOSS_BUFFER]:
        content["state_dict"][name] = torch.rand(num_classes + 1)
    return {"meta": {"CLASSES": ("a", "b"), "epoch": 3, "config": "model = dict()"}, **content}


def assert_equal_tensors(actual, expected):
    """Two state dicts have the same names, dtypes and values."""
    torch.testing.assert_close(dict(actual), dict(expected), rtol=0, atol=0)
