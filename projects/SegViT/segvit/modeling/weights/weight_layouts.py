"""From the layout in which weights were published to the names and sizes of a timm model, by timm's own converters.

Shape shorthand: P patch.
"""

from __future__ import annotations

import copy
import math
import re
import sys
import zipfile
from pathlib import Path

import torch
from timm.models import Beit, VisionTransformer, clean_state_dict
from torch import nn

from segvit.errors import UserError
from segvit.modeling.weights.weight_files import code_error, damage_error, require_content

# Where training codes keep the encoder: averaged weights first; "teacher" in DINO, iBOT and DINOv2, "module" in
# DeepSpeed, "encoder" in I-JEPA.
WRAPPERS = ("state_dict_ema", "model_ema", "teacher", "state_dict", "model", "module", "encoder")
PATCH_KERNEL = re.compile(r"(^|\.)(patch_embed\.proj|patch_embed\.projection|visual\.conv1)\.weight$")
SHARED_TABLE = "rel_pos_bias.relative_position_bias_table"


def unwrapped(content: dict[str, object], origin: str) -> dict[str, torch.Tensor]:
    """The tensors of the encoder, out of a training code's dicts and without their prefixes.

    Raises:
        UserError: where no tensors are found; `origin` names the file.
    """
    while wrapper := next((key for key in WRAPPERS if isinstance(content.get(key), dict)), None):
        content = content[wrapper]
    weights = clean_state_dict({name: value for name, value in content.items() if isinstance(value, torch.Tensor)})
    if not weights:
        raise UserError(f"{origin} holds no tensors, only {sorted(map(str, content))[:20]}")
    return {name.removeprefix("backbone."): tensor for name, tensor in weights.items()}


def converted(encoder: nn.Module, weights: dict[str, torch.Tensor], origin: str) -> dict[str, torch.Tensor]:
    """`weights` under the names of `encoder`; positions and relative tables resized to its grid.

    Raises:
        UserError: where the patch size differs (timm would resample the kernel), or timm cannot read the layout.
    """
    for name, tensor in weights.items():
        if PATCH_KERNEL.search(name) and tensor.ndim == 4:
            _require_patch_size(encoder, tuple(tensor.shape[-2:]), origin)
    _assume_square_source(encoder)
    convert = sys.modules[type(encoder).__module__].checkpoint_filter_fn  # timm keeps it beside the model's class
    options = {"adapt_layer_scale": True} if isinstance(encoder, VisionTransformer) else {}  # DeiT III
    try:
        return convert(_with_table_per_block(encoder, weights), encoder, **options)
    except Exception as error:  # timm's converters fail in any way on a layout that is not theirs
        raise UserError(
            f"{origin} has a layout that timm cannot read into its {type(encoder).__name__}: "
            f"{type(error).__name__}: {error}"
        ) from error


def flax_weights(encoder: nn.Module, path: Path) -> dict[str, torch.Tensor]:
    """An AugReg `.npz` under timm's names, positions at their own grid; entries without a counterpart keep their names.

    timm copies such a file into a model and does not say what it copied: here, into one whose weights are all NaN.
    """
    if not isinstance(encoder, VisionTransformer):
        raise UserError(f"{path}: timm reads .npz files into its VisionTransformer only, not {type(encoder).__name__}")
    shapes, probe = _npz_shapes(path), copy.deepcopy(encoder)
    for name, shape in shapes.items():
        if name.endswith("embedding/kernel") and len(shape) == 4:
            _require_patch_size(encoder, shape[:2], str(path))
        if name.endswith("pos_embedding"):
            probe.pos_embed = nn.Parameter(torch.empty(shape))
    for parameter in probe.parameters():
        nn.init.constant_(parameter, float("nan"))
    try:
        probe.load_pretrained(str(path))
    except (KeyError, RuntimeError) as error:
        size = f"{len(encoder.blocks)} blocks of width {encoder.embed_dim}"
        raise UserError(f"{path} does not fit a {type(encoder).__name__} of {size}: {error}") from error
    except Exception as error:  # a damaged archive fails in any way
        raise (code_error(path) if "pickle" in str(error) else damage_error(path, error)) from error
    copied = {name: tensor for name, tensor in probe.state_dict().items() if not tensor.isnan().any()}
    return copied | {name: torch.empty(shape) for name, shape in shapes.items() if _is_left_over(name, encoder)}


def _require_patch_size(encoder: nn.Module, patch_size: tuple[int, int], origin: str) -> None:
    (height, width), (rows, columns) = patch_size, encoder.patch_embed.patch_size
    if (height, width) != (rows, columns):
        raise UserError(
            f"{origin} was trained on patches of {height} x {width} pixels, but the encoder cuts {rows} x {columns}; "
            "choose the MODEL.VIT.NAME, or MODEL.VIT.PATCH_SIZE, that agrees with the file"
        )


def _assume_square_source(encoder: nn.Module) -> None:
    """Let timm resize positions also where a crop that is not square has as many patches as a square image."""
    (rows, columns), patch_size = encoder.patch_embed.grid_size, encoder.patch_embed.patch_size
    side = math.isqrt(rows * columns)
    if rows != columns and side * side == rows * columns:
        size = (3, side * patch_size[0], side * patch_size[1])
        encoder.pretrained_cfg = {**encoder.pretrained_cfg, "input_size": size}


def _with_table_per_block(encoder: nn.Module, weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Self-supervised BEiT shares one relative table; fine-tuning starts from a copy in each block (BEiT's code)."""
    if not isinstance(encoder, Beit) or encoder.rel_pos_bias is not None or SHARED_TABLE not in weights:
        return weights
    rest = {name: tensor for name, tensor in weights.items() if name != SHARED_TABLE}
    table = SHARED_TABLE.removeprefix("rel_pos_bias.")
    return rest | {f"blocks.{i}.attn.{table}": weights[SHARED_TABLE] for i in range(len(encoder.blocks))}


def _npz_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Name and shape of each array, from the headers alone."""
    require_content(path)
    shapes = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.namelist():
                with archive.open(member) as file:
                    sizes = re.search(rb"'shape': \(([\d, ]*)\)", file.read(512))[1]
                shapes[member.removesuffix(".npy")] = tuple(int(size) for size in re.findall(rb"\d+", sizes))
    except Exception as error:  # a damaged archive fails in any way
        raise damage_error(path, error) from error
    return shapes


def _is_left_over(name: str, encoder: nn.Module) -> bool:
    """Whether an entry of an `.npz` stands for a classifier or for a block behind the encoder's last."""
    block = re.search(r"encoderblock_(\d+)/", name)
    return bool(
        re.search(r"(^|/)(head|pre_logits|MAPHead_0)/", name) or (block and int(block[1]) >= len(encoder.blocks))
    )
