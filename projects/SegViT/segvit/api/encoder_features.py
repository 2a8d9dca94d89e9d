"""`encoder_features`: outputs of any blocks of a model's encoder, as maps.

Shape shorthand: B images, H x W pixels, h x w grid of patches, C encoder width.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence

import torch

from segvit.assembly.backbone import PlainViT
from segvit.assembly.meta_arch import SegViT
from segvit.errors import ArgumentError
from segvit.modeling.encoder.vit_encoder import PlainViTEncoder
from segvit.modeling.token_reduction.token_set import Stage, TokenSet, as_map, restore_nearest
from segvit.modeling.tokens import tokens_to_map


def encoder_features(model: SegViT, images: torch.Tensor, names: Sequence[str]) -> dict[str, torch.Tensor]:
    """Outputs of encoder blocks for images (B, 3, H, W) in the channel order of the model: {name: (B, C, h, w)}.

    Raises:
        ArgumentError: a name is no block of the encoder.
    """
    encoder = model.backbone.encoder
    plain = isinstance(encoder, PlainViTEncoder)
    known = [f"block{index}" for index in range(len(encoder.blocks))] if plain else list(model.backbone.output_shape())
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        raise ArgumentError("names", f"{list(names)}: choose among {known[0]} to {known[-1]}, the blocks of this model")
    backbone = with_stages(model.backbone, [known.index(name) for name in names]) if plain else model.backbone
    stages = backbone(torch.stack([model.network.preprocess(image) for image in images]))
    return {name: stage_map(stages[name]) for name in names}


def with_stages(backbone: PlainViT, indices: Iterable[int]) -> PlainViT:
    """A backbone of the same modules that returns other blocks; the given one stays as it is, for other threads."""
    view, encoder = copy.copy(backbone), copy.copy(backbone.encoder)
    encoder.out_indices = sorted({*indices})
    view._modules = {**backbone._modules, "encoder": encoder}
    return view


def stage_map(stage: Stage) -> torch.Tensor:
    """A map as it is; of kept tokens the map in which dropped cells have the token of the nearest kept one."""
    if not isinstance(stage, TokenSet):
        return as_map(stage)
    return tokens_to_map(restore_nearest(stage.tokens, stage, stage.grid), stage.grid)
