"""Pre-trained encoder weights from timm's hub or a local file, loaded verifiably."""

from __future__ import annotations

import logging
import re

from torch import nn

from segvit.errors import UserError
from segvit.modeling.weights.weight_files import read_weight_file
from segvit.modeling.weights.weight_layouts import converted, flax_weights, unwrapped
from segvit.modeling.weights.weight_match import compare_weights
from segvit.modeling.weights.weight_sources import hub_weights, local_path

logger = logging.getLogger(__name__)

# What a classifier or a pre-training task adds to an encoder; segmentation has no use for it.
NOT_OF_THE_ENCODER = re.compile(
    r"^((\w+_)?head(_\w+)?|fc_norm|attn_pool|pre_logits)\.|^(mask_token|norm\.(weight|bias))$|(^|/)(head|MAPHead_0|pre_logits)/"
)


def load_pretrained_encoder(encoder: nn.Module, *, name: str, source: str, min_match: float = 0.95) -> None:
    """Load weights into a timm model in place, and log what was matched and what was not.

    Args:
        encoder: the timm model, as timm built it.
        name: its timm name without a tag.
        source: a timm tag such as "augreg_in21k_ft_in1k", or the path of a `.safetensors`, `torch.save` or AugReg
            `.npz` file in a layout that timm reads.
        min_match: the share of the encoder's tensors that the weights must provide.

    Raises:
        UserError: where the file cannot be read safely, was trained on another patch size, or fits too little;
            where `source` is no known tag; where `min_match` is no share.
        OSError: where the file does not exist or the hub cannot be reached.
    """
    if not 0 <= min_match <= 1:
        raise UserError(f"MODEL.VIT.PRETRAINED_MIN_MATCH {min_match} must lie in 0 to 1")
    path = local_path(source)
    origin = str(path)
    if path is None:
        weights, origin = hub_weights(name, source)
    elif path.suffix == ".npz":
        weights = flax_weights(encoder, path)
    else:
        weights = unwrapped(read_weight_file(path), origin)
    weights = converted(encoder, weights, origin)
    match = compare_weights(encoder.state_dict(), weights, ignored=NOT_OF_THE_ENCODER)
    if match.share < min_match:
        raise UserError(
            f"Pre-trained weights of {origin} do not fit {name}: {match.describe()}\nLess than "
            f"MODEL.VIT.PRETRAINED_MIN_MATCH {min_match:.1%} fits. Is MODEL.VIT.NAME the architecture of these weights?"
        )
    encoder.load_state_dict({tensor: weights[tensor] for tensor in match.matched}, strict=False)
    logger.info("Pre-trained weights of %s for %s: %s", origin, name, match.describe())
