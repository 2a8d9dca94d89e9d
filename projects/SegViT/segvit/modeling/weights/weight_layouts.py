"""`convert_layout`: published weights under the names and in the sizes of a timm model, by timm's own converters.

Shape shorthand: P patch size.
"""

from __future__ import annotations

import copy
import math
import re
import sys
import zipfile
from pathlib import Path
from typing import Any

import torch
from timm.models import Beit, VisionTransformer, adapt_input_conv, clean_state_dict
from torch import nn

from segvit.errors import ArgumentError, UserError
from segvit.modeling.weights.weight_files import code_error, damage_error, require_content, require_finite

# Where training codes keep the encoder: averaged weights first; "teacher" in DINO, iBOT and DINOv2, "module" in
# DeepSpeed, "encoder" in I-JEPA.
WRAPPERS = ("state_dict_ema", "model_ema", "teacher", "state_dict", "model", "module", "encoder")
PATCH_KERNEL = re.compile(r"(^|\.)(patch_embed\.proj|patch_embed\.projection|visual\.conv1)\.weight$")
SHARED_TABLE = "rel_pos_bias.relative_position_bias_table"


def unwrap(content: dict[str, Any], origin: str) -> dict[str, torch.Tensor]:
    """The encoder's tensors, taken out of a training code's nested dicts and without its prefixes.

    Args:
        content: of a file.
        origin: the file, for the error message.

    Raises:
        UserError: there are no tensors.
    """
    while wrapper := next((key for key in WRAPPERS if isinstance(content.get(key), dict)), None):
        content = content[wrapper]
    weights = clean_state_dict({name: value for name, value in content.items() if isinstance(value, torch.Tensor)})
    if not weights:
        raise UserError(f"{origin} holds no tensors, only {sorted(map(str, content))[:20]}")
    return {name.removeprefix("backbone."): tensor for name, tensor in weights.items()}


def convert_layout(
    encoder: nn.Module, weights: dict[str, torch.Tensor], origin: str, *, resample_patches: bool = False
) -> dict[str, torch.Tensor]:
    """Rename weights as in `encoder`, and resize position embeddings and relative tables to its grid.

    Args:
        encoder: a timm model.
        weights: in any layout that timm can read.
        origin: the file or address, for error messages.
        resample_patches: see `load_pretrained_encoder`.

    Raises:
        ArgumentError: the patch size differs (timm would resample the kernel without a word).
        UserError: timm cannot read the layout.
    """
    for name, tensor in weights.items():
        if PATCH_KERNEL.search(name) and tensor.ndim == 4 and not resample_patches:
            _require_patch_size(encoder, tensor.shape[-2], tensor.shape[-1], origin)
    _assume_square_source(encoder)
    convert = sys.modules[type(encoder).__module__].checkpoint_filter_fn  # timm keeps it beside the model's class
    options = {"adapt_layer_scale": True} if isinstance(encoder, VisionTransformer) else {}  # DeiT III
    try:
        return convert(_copy_table_to_blocks(encoder, weights), encoder, **options)
    except Exception as error:  # timm's converters can raise anything for an unknown layout
        raise UserError(
            f"{origin} has a layout that timm cannot read into its {type(encoder).__name__}: "
            f"{type(error).__name__}: {error}"
        ) from error


def adapt_image_channels(encoder: nn.Module, weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Make the patch embedding of RGB images that of the encoder's channels, as timm does.

    One channel gets the sum of the three; more get the three in turn, scaled so that the sum stays.
    """
    name = "patch_embed.proj.weight"
    kernel, expected = weights.get(name), encoder.state_dict().get(name)
    if kernel is None or expected is None or kernel.ndim != 4 or kernel.shape[1] == expected.shape[1]:
        return weights
    if kernel.shape[1] != 3:
        raise ArgumentError(
            "pretrained", f"is of images with {kernel.shape[1]} channels, not {expected.shape[1]} or 3: choose another"
        )
    return {**weights, name: adapt_input_conv(expected.shape[1], kernel)}


def flax_weights(encoder: nn.Module, path: Path, *, resample_patches: bool = False) -> dict[str, torch.Tensor]:
    """Read an AugReg `.npz` file under timm's names; position embeddings keep their grid.

    timm copies such a file into a model and does not report what it copied. So it is copied into a model whose weights
    are all NaN. Arrays without a counterpart in the model keep their names.

    Raises:
        UserError: the file is damaged, holds NaN, or does not fit the encoder.
        ArgumentError: the patch size differs.
    """
    if not isinstance(encoder, VisionTransformer):
        raise UserError(f"{path}: timm reads .npz files into its VisionTransformer only, not {type(encoder).__name__}")

    # A copy of the model with positions as in the file and every parameter NaN.
    shapes = _npz_shapes(path)
    probe: Any = copy.deepcopy(encoder)
    for name, shape in shapes.items():
        if name.endswith("embedding/kernel") and len(shape) == 4 and not resample_patches:
            _require_patch_size(encoder, shape[0], shape[1], str(path))
        if name.endswith("pos_embedding"):
            probe.pos_embed = nn.Parameter(torch.empty(shape))
    for parameter in probe.parameters():
        nn.init.constant_(parameter, float("nan"))

    # Load the file into it; what is no longer NaN was in the file.
    _load_npz(probe, path)
    weights = {name: tensor for name, tensor in probe.state_dict().items() if not tensor.isnan().any()}
    if len(weights) < len(probe.state_dict()):
        # What is still NaN is missing in the file, unless the file itself holds the NaN: then 0 is overwritten by it.
        for parameter in probe.parameters():
            nn.init.zeros_(parameter)
        _load_npz(probe, path)
        require_finite(probe.state_dict(), str(path))
    depth = len(encoder.blocks)
    return weights | {name: torch.empty(shape) for name, shape in shapes.items() if _is_unused(name, depth)}


def _load_npz(probe: Any, path: Path) -> None:
    try:
        probe.load_pretrained(str(path))
    except (KeyError, RuntimeError) as error:
        size = f"{len(probe.blocks)} blocks of width {probe.embed_dim}"
        raise UserError(f"{path} does not fit a {type(probe).__name__} of {size}: {error}") from error
    except Exception as error:  # a damaged archive can raise anything
        raise (code_error(path) if "pickle" in str(error) else damage_error(path, error)) from error


def _require_patch_size(encoder: nn.Module, height: int, width: int, origin: str) -> None:
    model: Any = encoder
    rows, columns = model.patch_embed.patch_size
    if (height, width) != (rows, columns):
        raise ArgumentError(
            "pretrained",
            f"{origin} was trained on patches of {height} x {width} pixels, but the encoder has patches of {rows} x "
            f"{columns}; choose a `name` or `patch_size` that agrees with the file, or `resample_patches` True",
        )


def _assume_square_source(encoder: nn.Module) -> None:
    """Make timm resize positions even if a crop that is not square has as many patches as a square image."""
    model: Any = encoder
    rows, columns = model.patch_embed.grid_size
    patch_height, patch_width = model.patch_embed.patch_size
    side = math.isqrt(rows * columns)
    if rows != columns and side * side == rows * columns:
        input_size = (3, side * patch_height, side * patch_width)
        model.pretrained_cfg = {**model.pretrained_cfg, "input_size": input_size}


def _copy_table_to_blocks(encoder: nn.Module, weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Self-supervised BEiT shares one relative table; as in BEiT's code, fine-tuning starts from a copy per block."""
    if not isinstance(encoder, Beit) or encoder.rel_pos_bias is not None or SHARED_TABLE not in weights:
        return weights
    rest = {name: tensor for name, tensor in weights.items() if name != SHARED_TABLE}
    table = SHARED_TABLE.removeprefix("rel_pos_bias.")
    return rest | {f"blocks.{i}.attn.{table}": weights[SHARED_TABLE] for i in range(len(encoder.blocks))}


def _npz_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Name and shape of each array, read from the headers only."""
    require_content(path)
    shapes = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.namelist():
                with archive.open(member) as file:
                    _, _, header = file.read(512).partition(b"'shape': (")
                sizes, closing, _ = header.partition(b")")
                if not closing:
                    raise ValueError(f"no shape in the header of {member}")
                shapes[member.removesuffix(".npy")] = tuple(int(size) for size in re.findall(rb"\d+", sizes))
    except Exception as error:  # a damaged archive can raise anything
        raise damage_error(path, error) from error
    return shapes


def _is_unused(name: str, depth: int) -> bool:
    """Whether an array of an `.npz` belongs to a classifier, or to a block that an encoder of `depth` blocks lacks."""
    block = re.search(r"encoderblock_(\d+)/", name)
    is_classifier = re.search(r"(^|/)(head|pre_logits|MAPHead_0)/", name) is not None
    return is_classifier or (block is not None and int(block[1]) >= depth)
