"""`load_pretrained_encoder`: load weights from timm's hub or a local file into a timm model, and log what matched."""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path

import timm
import torch
from torch import nn

from segvit.errors import ArgumentError
from segvit.modeling.weights.weight_files import read_weight_file, require_finite
from segvit.modeling.weights.weight_layouts import adapt_image_channels, convert_layout, flax_weights, unwrap
from segvit.modeling.weights.weight_match import compare_weights

logger = logging.getLogger(__name__)

# Tensors of a classifier or a pre-training task, which segmentation does not need.
NOT_OF_THE_ENCODER = re.compile(
    r"^((\w+_)?head(_\w+)?|fc_norm|attn_pool|pre_logits)\.|^(mask_token|norm\.(weight|bias))$|(^|/)(head|MAPHead_0|pre_logits)/"
)
# Suffixes by which `pretrained` is recognized as a path, not a tag.
SUFFIXES = (".safetensors", ".pth", ".pt", ".bin", ".npz", ".pkl", ".ckpt", ".tar")
HUB_FILE = "model.safetensors"


def load_pretrained_encoder(
    encoder: nn.Module,
    *,
    name: str,
    pretrained: str,
    pretrained_min_match: float = 0.95,
    resample_patches: bool = False,
) -> None:
    """Load weights into a timm model in place, and log which tensors matched and which did not.

    Args:
        encoder: the timm model, as timm created it.
        name: its timm name; a tag in it must be that of `pretrained`, unless that is a file.
        pretrained: a timm tag such as "augreg_in21k_ft_in1k", or the path of a `.safetensors`, `torch.save` or AugReg
            `.npz` file in a layout that timm can read.
        pretrained_min_match: minimum fraction of the encoder's tensors that the weights must provide, 0 to 1.
        resample_patches: if the weights have another patch size, make their patch embedding one of the encoder's: that
            which gives an image whose patches are resized the nearest tokens (FlexiViT, Beyer et al. 2023, arXiv
            2212.08013, section 3.4, by timm's `resample_patch_embed`). False: an error.

    Raises:
        UserError: the file cannot be read safely, its layout is unknown, or it holds NaN or infinite values.
        ArgumentError: `pretrained` is neither a file nor a known tag, cannot be downloaded, or does not fit the
            encoder; `pretrained_min_match` is out of range.
    """
    if not 0 <= pretrained_min_match <= 1:
        raise ArgumentError("pretrained_min_match", f"{pretrained_min_match} must lie in 0 to 1")

    # Read the tensors from a file or from the hub, under the names of their source.
    path = local_path(pretrained)
    origin = str(path)
    if path is None:
        weights, origin = hub_weights(name, pretrained)
    elif path.suffix == ".npz":
        weights = flax_weights(encoder, path, resample_patches=resample_patches)
    else:
        weights = unwrap(read_weight_file(path), origin)

    # Rename them as in timm, and compare.
    weights = convert_layout(encoder, weights, origin, resample_patches=resample_patches)
    weights = adapt_image_channels(encoder, weights)
    match = compare_weights(encoder.state_dict(), weights, ignored=NOT_OF_THE_ENCODER)
    require_finite({tensor: weights[tensor] for tensor in match.matched}, origin)
    if match.matched_fraction < pretrained_min_match:
        raise ArgumentError(
            "pretrained",
            f"{origin} does not fit {name}: {match.describe()}\nLess than `pretrained_min_match` "
            f"{pretrained_min_match:.1%} matched. Is `name` the architecture of these weights?",
        )
    encoder.load_state_dict({tensor: weights[tensor] for tensor in match.matched}, strict=False)
    logger.info("Pre-trained weights of %s for %s: %s", origin, name, match.describe())


def require_weights_of_tag(name: str, pretrained: str) -> None:
    """Raise ArgumentError if `name` has the tag of pre-trained weights, such as "augreg_in21k", and none are loaded."""
    architecture, tag = timm.models.split_model_name_tag(name)
    if tag and not pretrained:
        raise ArgumentError(
            "name",
            f"{name!r} names the weights {tag!r}, which would not be loaded: set `pretrained` {tag!r} to load them, or "
            f"write {architecture!r} for random weights",
        )


def local_path(pretrained: str) -> Path | None:
    """The path if `pretrained` is a file; None if it looks like a tag.

    Raises:
        ArgumentError: it looks like a path, by a separator or a suffix, but there is no such file.
    """
    path = Path(pretrained).expanduser()
    if path.is_file():
        return path
    if "/" in pretrained or os.sep in pretrained or path.suffix in SUFFIXES:
        reason = "is a folder, not a file" if path.is_dir() else "does not exist"
        raise ArgumentError("pretrained", f"{str(path)!r} {reason} (current folder: {Path.cwd()})")
    return None


def hub_weights(name: str, pretrained: str) -> tuple[dict[str, torch.Tensor], str]:
    """The weights that timm lists for the model `name` under a tag, and their address.

    Raises:
        ArgumentError: timm does not know the tag, or the file is neither in the hub's cache nor reachable.
    """
    architecture, tag = timm.models.split_model_name_tag(name)
    requested = pretrained.removeprefix(f"{architecture}.")
    if tag and tag != requested:
        raise ArgumentError("name", f"{name!r} and `pretrained` {pretrained!r} name different weights: drop one tag")
    model = f"{architecture}.{requested}"
    known = timm.list_pretrained(architecture)
    listed = timm.get_pretrained_cfg(model) if model in known else None
    if listed is None:
        tags = ", ".join(tagged.removeprefix(f"{architecture}.") for tagged in known)
        offer = f"tags of {architecture} are {tags}" if tags else f"timm lists none for {architecture}"
        raise ArgumentError("pretrained", f"{pretrained!r} is neither a file nor a tag that timm knows; {offer}")
    if not listed.hf_hub_id:
        raise ArgumentError(
            "pretrained",
            f"{pretrained!r} is not on the hub: download {listed.url} and set `pretrained` to the path of the file",
        )
    try:
        weights = timm.models.load_state_dict_from_hf(listed.hf_hub_id, weights_only=True)
    except Exception as error:  # the hub's client raises many types without a connection
        raise ArgumentError("pretrained", _offline_message(pretrained, listed.hf_hub_id, error)) from error
    return weights, f"https://huggingface.co/{listed.hf_hub_id}"


def _offline_message(pretrained: str, repository: str, error: Exception) -> str:
    home = os.environ.get("HF_HOME", "~/.cache/huggingface")
    cache = Path(os.environ.get("HF_HUB_CACHE", f"{home}/hub")).expanduser()
    folder = cache / f"models--{repository.replace('/', '--')}"
    reason = str(error).partition("\n")[0]
    return (
        f"{pretrained!r}: {HUB_FILE} of the hub repository {repository} is not in the cache and could not be "
        f"downloaded ({type(error).__name__}: {reason}). On a machine with a connection, download "
        f"https://huggingface.co/{repository}/resolve/main/{HUB_FILE}, copy it here and set `pretrained` to "
        f"/path/to/{HUB_FILE}; or run `hf download {repository}` there and copy its folder to {folder}"
    )
