"""Tiny pre-trained models, and their weights with the names and shapes of the original releases.

Shape shorthand: C width, D head width.
"""

import numpy as np
import timm
import torch
from torch import nn

from segvit.modeling.encoder.vit_builder import create_timm_vit
from segvit.modeling.weights.pretrained import load_pretrained_encoder

NAME = "vit_tiny_patch16_224"
TINY = {"embed_dim": 48, "depth": 3, "num_heads": 3}
CLIP, DINOV2, BEIT = "vit_base_patch16_clip_224", "vit_small_patch14_reg4_dinov2", "beit_base_patch16_224"


def published(name=NAME, *, img_size=64, num_classes=7, seed=0, **options):
    """A tiny model as its authors trained it: square, with its classifier, no parameter at its initial value."""
    torch.manual_seed(seed)
    model = timm.create_model(name, img_size=img_size, num_classes=num_classes, **{**TINY, **options})
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.5)
    return model


def encoder(name=NAME, *, img_size=(64, 64), **options):
    return create_timm_vit(name, img_size=img_size, **{**TINY, **options})


def save(path, content, **options):
    torch.save(content, path, **options)
    return str(path)


def load(model, pretrained, name=NAME, **options):
    load_pretrained_encoder(model, name=name, pretrained=str(pretrained), **options)
    return model


def assert_holds(model, state, names=None):
    """Assert that the tensors of `model`, all or those in `names`, equal those of `state`."""
    weights = model.state_dict()
    for name in weights if names is None else names:
        torch.testing.assert_close(weights[name], state[name].float(), rtol=0, atol=0, msg=name)


def flax_layout(state, *, heads, big_vision):
    """The arrays of Google's ViT releases: (in, out) kernels; separate q, k and v of shape (C, heads, D)."""
    prefix = "params/" if big_vision else ""
    attention, mlp, norm2 = (0, 0, 1) if big_vision else (1, 3, 2)
    array = {name: tensor.numpy() for name, tensor in state.items()}
    width = array["cls_token"].shape[-1]
    position = "pos_embedding" if big_vision else "Transformer/posembed_input/pos_embedding"
    out = {
        "cls": array["cls_token"],
        position: array["pos_embed"],
        "embedding/kernel": array["patch_embed.proj.weight"].transpose(2, 3, 1, 0),
        "embedding/bias": array["patch_embed.proj.bias"],
        "head/kernel": array["head.weight"].T,
        "head/bias": array["head.bias"],
        "Transformer/encoder_norm/scale": array["norm.weight"],
        "Transformer/encoder_norm/bias": array["norm.bias"],
    }
    for block in sorted({int(name.split(".")[1]) for name in array if name.startswith("blocks.")}):
        timm_block = f"blocks.{block}."
        flax_block = f"Transformer/encoderblock_{block}/"
        for norm, layer in (("norm1", "LayerNorm_0"), ("norm2", f"LayerNorm_{norm2}")):
            out[f"{flax_block}{layer}/scale"] = array[f"{timm_block}{norm}.weight"]
            out[f"{flax_block}{layer}/bias"] = array[f"{timm_block}{norm}.bias"]
        attend = f"{flax_block}MultiHeadDotProductAttention_{attention}/"
        for index, name in enumerate(("query", "key", "value")):
            rows = slice(index * width, (index + 1) * width)
            out[f"{attend}{name}/kernel"] = array[f"{timm_block}attn.qkv.weight"][rows].T.reshape(width, heads, -1)
            out[f"{attend}{name}/bias"] = array[f"{timm_block}attn.qkv.bias"][rows].reshape(heads, -1)
        out[f"{attend}out/kernel"] = array[f"{timm_block}attn.proj.weight"].T.reshape(heads, -1, width)
        out[f"{attend}out/bias"] = array[f"{timm_block}attn.proj.bias"]
        for layer in (0, 1):
            out[f"{flax_block}MlpBlock_{mlp}/Dense_{layer}/kernel"] = array[f"{timm_block}mlp.fc{layer + 1}.weight"].T
            out[f"{flax_block}MlpBlock_{mlp}/Dense_{layer}/bias"] = array[f"{timm_block}mlp.fc{layer + 1}.bias"]
    return {prefix + name: value for name, value in out.items()}


def save_npz(path, source, *, big_vision=False):
    np.savez(path, **flax_layout(source.state_dict(), heads=3, big_vision=big_vision))
    return path


def clip_layout(state):
    """OpenAI's CLIP: the names of the visual tower, and some tensors of the text tower."""
    renamed_parts = [
        ("patch_embed.proj", "conv1"),
        ("norm_pre", "ln_pre"),
        ("blocks.", "transformer.resblocks."),
        ("attn.qkv.", "attn.in_proj_"),
        ("attn.proj", "attn.out_proj"),
        ("mlp.fc1", "mlp.c_fc"),
        ("mlp.fc2", "mlp.c_proj"),
        (".norm1", ".ln_1"),
        (".norm2", ".ln_2"),
    ]
    out = {
        "visual.class_embedding": state["cls_token"][0, 0],
        "visual.positional_embedding": state["pos_embed"][0],
        "visual.proj": state["head.weight"].T,
        "visual.ln_post.weight": state["norm.weight"],
        "visual.ln_post.bias": state["norm.bias"],
        "transformer.resblocks.0.attn.in_proj_weight": torch.zeros(6, 2),
        "token_embedding.weight": torch.zeros(9, 2),
        "logit_scale": torch.tensor(4.6),
    }
    for name, tensor in state.items():
        if name.startswith(("patch_embed", "norm_pre", "blocks.")):
            for timm_part, clip_part in renamed_parts:
                name = name.replace(timm_part, clip_part)
            out[f"visual.{name}"] = tensor
    return out
