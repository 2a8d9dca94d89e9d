"""`resized_positions`: positions of a checkpoint for a model with another MODEL.VIT.IMG_SIZE."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from segvit.modeling.encoder.token_embedding import TokenEmbedding
from segvit.modeling.grid_tensors import Grid, resize_to_grid_of
from segvit.modeling.tokens import padded_size

logger = logging.getLogger(__name__)

# Tensors whose shape depends on MODEL.VIT.IMG_SIZE: positions, and the learned queries of Shrunk.
POSITION_TENSOR = re.compile(r"(^|\.)(pos_embed|positions\.(tables\.\d+|shared_table)|upsampling\.queries\.weight)$")
POSITION_HINT = (
    "\nThe checkpoint was trained with another MODEL.VIT.IMG_SIZE and does not say with which, so its positions cannot "
    "be resized: set MODEL.VIT.IMG_SIZE to the crop of its training; the model takes images of any size"
)

PATCH_TENSOR = re.compile(r"(^|\.)patch_embed\.")
PATCH_HINT = (
    "\nIts patch embedding is another one: MODEL.VIT.PATCH_SIZE, STEM and EMBED_DIM, and INPUT.CHANNELS, must be "
    "those of its training (MODEL.VIT.RESAMPLE_PATCHES resamples encoder weights alone, MODEL.VIT.PRETRAINED)"
)


def resized_positions(model: nn.Module, checkpoint: Mapping[str, Any], path: str) -> dict[str, torch.Tensor]:
    """The weights of a checkpoint, with positions resized to the grid of a model; a warning says so.

    The grid of the checkpoint follows from the MODEL.VIT.IMG_SIZE that it records; without one, a square is assumed.
    """
    old = _recorded_grid(model, checkpoint.get("config", {}))
    resized = resize_to_grid_of(model, checkpoint["model"], old)
    if resized.names:
        logger.warning(
            "%s: positions for %d x %d patches%s are resized to the %d x %d of MODEL.VIT.IMG_SIZE: %s",
            path,
            *resized.old,
            "" if old else " (a square: the file does not say for which)",
            *resized.new,
            ", ".join(resized.names),
        )
    return resized.weights


def grid_hint(conflicts: Sequence[str]) -> str:
    """What to do if one of the tensors whose shapes differ depends on patches or on MODEL.VIT.IMG_SIZE; else ""."""
    if any(PATCH_TENSOR.search(name) for name in conflicts):
        return PATCH_HINT
    return POSITION_HINT if any(POSITION_TENSOR.search(name) for name in conflicts) else ""


def _recorded_grid(model: nn.Module, config: Mapping[str, Any]) -> Grid | None:
    image_size = config.get("MODEL.VIT.IMG_SIZE")
    embedding = next((module for module in model.modules() if isinstance(module, TokenEmbedding)), None)
    if image_size is None or embedding is None:
        return None
    height, width = padded_size(image_size, embedding.patch_size)
    return height // embedding.patch_size[0], width // embedding.patch_size[1]
