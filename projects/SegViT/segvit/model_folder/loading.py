"""`load_model`: the model of a folder with its weights, in evaluation mode."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from yacs.config import CfgNode

from segvit.assembly.encoder_weights import without_pretrained
from segvit.assembly.meta_arch import SegViT
from segvit.config.conditional_keys import require_switches
from segvit.config.device import require_device
from segvit.config.unread_keys import flat
from segvit.errors import UserError
from segvit.model_folder.files import ModelFolder
from segvit.model_folder.plain_config import plain_config, portable_keys
from segvit.modeling.weights.weight_files import read_weight_file, require_finite
from segvit.modeling.weights.weight_match import compare_weights


def label_type(num_classes: int) -> torch.dtype:
    """The smallest type that holds all labels: they leave the device in as few bytes as hold them."""
    return torch.uint8 if num_classes <= 255 else torch.int16 if num_classes < 2**15 else torch.int32


def default_device() -> str:
    """A GPU, if PyTorch sees one."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def folder_config(folder: ModelFolder, overrides: Mapping[str, Any]) -> CfgNode:
    """The config of a folder with other values of some keys; by default on a GPU, if PyTorch sees one.

    Raises:
        UserError: a value is out of range, names other weights than the folder's, or has no effect in this model.
    """
    if "MODEL.WEIGHTS" in overrides:
        raise UserError(f"MODEL.WEIGHTS {overrides['MODEL.WEIGHTS']}: {folder.path} has weights; leave the key out")
    cfg = plain_config(portable_keys(folder.cfg), {"MODEL.DEVICE": default_device(), **overrides})
    own, defaults = flat(folder.cfg), flat(plain_config())
    require_switches(flat(cfg), {**own, **defaults}, [own, overrides], tolerant={0}, warns=False)
    require_device(cfg.MODEL.DEVICE)
    cfg.MODEL.WEIGHTS = str(folder.weights)
    return cfg


def load_model(cfg: CfgNode) -> SegViT:
    """The model of a folder's config with its weights, on MODEL.DEVICE. Raises UserError if they do not fit."""
    model = SegViT(without_pretrained(cfg), label_dtype=label_type(cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES))
    load_weights(model, cfg.MODEL.WEIGHTS)
    return model.to(cfg.MODEL.DEVICE).eval()


def load_weights(model: SegViT, path: str) -> None:
    """Load a weight file that has every tensor of the model and no other. Raises UserError otherwise."""
    weights = read_weight_file(path)
    require_finite(weights, path)
    match = compare_weights(model.state_dict(), weights)
    if not match.is_exact:
        raise UserError(f"{path} does not fit the model of its config: {match.describe()}")
    model.load_state_dict(weights)
