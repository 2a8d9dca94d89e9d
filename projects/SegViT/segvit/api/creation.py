"""`create_model`: a new model from the name of an encoder or a config, and `list_models`: the names of encoders."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import timm
import torch
from timm.models import split_model_name_tag

from segvit.api.model import Model
from segvit.api.options import keys_of_options
from segvit.assembly.encoder_weights import encoder_weights
from segvit.assembly.meta_arch import SegViT
from segvit.classes.class_list import ClassList
from segvit.config.device import require_device
from segvit.config.loading import config_layers, find_config
from segvit.errors import ArgumentError, UserError
from segvit.inference.loaded_model import LABELS_ONLY
from segvit.model_folder.loading import label_type
from segvit.model_folder.plain_config import plain_config
from segvit.modeling.encoder.vit_builder import create_timm_vit
from segvit.modeling.encoder.vit_families import FAMILIES

# Stages of the paper's encoders (v1, section 4.1), as fractions of their depth.
STAGES = (1 / 2, 2 / 3, 1)
# Of a decoder head; the decoder has half the encoder's width (v1, section 4.1).
HEAD_DIM = 32
# Of levels from 0 to 255, where nothing was measured.
MIDDLE_LEVEL = 127.5


def create_model(
    name: str,
    *,
    num_classes: int | None = None,
    classes: Sequence[str] = (),
    img_size: int | tuple[int, int] | None = None,
    channels: int | None = None,
    pretrained: bool | str = False,
    **options: Any,
) -> Model:
    """A new SegViT, in training mode.

    Args:
        name: a plain ViT of timm, such as "vit_base_patch16_384.augreg_in21k_ft_in1k" (see `list_models`); or a
            config, by its path or its name, such as "ade20k/segvit_vit_base_512".
        num_classes: K; by default the number of `classes`, or that of the config.
        classes: names by class id; "class 0" and so on by default.
        img_size: of the training crops, one number or (height, width); 512 by default, or that of the config.
        channels: of the images, 3 (RGB) by default, or that of the config. Other numbers need `pixel_mean` and
            `pixel_std` (check_dataset.py --measure-channels); without them levels are taken from 0 to 255.
        pretrained: load the encoder's weights of timm: those of the tag in `name`, or timm's default; or a file.
        **options: any option of the model's config by name, such as `stem="conv"`, `output="diagonal"` or
            `vit_num_heads=6`; docs/configuration.md lists them.

    Raises:
        UserError: the name is unknown, or arguments do not fit each other.
        TypeError: for an unknown option.
    """
    name = str(name)
    chosen = keys_of_options({**options, **({"img_size": img_size} if img_size is not None else {})})
    architecture = split_model_name_tag(name)[0]
    if timm.is_model(architecture):
        layers = [encoder_keys(name, pretrained=pretrained, chosen=chosen)]
    else:
        layers = [layer for _, layer in config_layers(config_of(name))]
        chosen = {**config_pretrained(pretrained), **chosen}
    if channels is not None:
        chosen = {**channel_keys(channels), **chosen}
    classes = class_names(classes)
    number = class_count(num_classes, classes)
    if number:
        chosen["MODEL.SEM_SEG_HEAD.NUM_CLASSES"] = number
    elif timm.is_model(architecture):
        raise ArgumentError("num_classes", "is missing: give the number of classes, or their names as `classes`")
    cfg = plain_config(*layers, {"MODEL.DEVICE": "cpu", **chosen, **LABELS_ONLY})
    if pretrained is True and not encoder_weights(cfg)["pretrained"]:
        raise ArgumentError("pretrained", f"True: the config {name} has no pre-trained weights; give a file, or False")
    device = require_device(cfg.MODEL.DEVICE, origin="device")
    number = cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES
    if not number:
        raise ArgumentError("num_classes", f"is missing: the config {name} leaves it to its dataset")
    network = SegViT(cfg, label_dtype=label_type(number)).to(device)
    listed = ClassList.with_default_colors(classes) if classes else ClassList.numbered(number)
    return Model(cfg=cfg, network=network, classes=listed).train()


def channel_keys(channels: int) -> dict[str, Any]:
    """The keys of images with this number of channels; for others than three, levels from 0 to 255 become -1 to 1."""
    if channels == 3:
        return {"INPUT.CHANNELS": 3}
    return {
        "INPUT.CHANNELS": channels,
        "MODEL.PIXEL_MEAN": channels * [MIDDLE_LEVEL],
        "MODEL.PIXEL_STD": channels * [MIDDLE_LEVEL],
    }


def list_models(pattern: str = "*", *, pretrained: bool = False) -> list[str]:
    """Names of the plain ViTs of timm that SegViT can use as its encoder.

    Args:
        pattern: a shell pattern, such as "*dinov2*".
        pretrained: list the tags of pre-trained weights, too, as in "vit_base_patch16_384.augreg_in21k_ft_in1k".
    """
    modules = sorted({family.__module__.rpartition(".")[2] for family in FAMILIES})
    names = [name for module in modules for name in timm.list_models(module=module, pretrained=pretrained)]
    return sorted(name for name in names if fnmatchcase(name, pattern))


def config_of(name: str) -> Path:
    """The path of a config. Raises ArgumentError, with encoders and configs of a similar name, if there is none."""
    try:
        return find_config(name)
    except UserError as error:
        if Path(name).is_dir():
            raise ArgumentError(
                "name", f"{name!r} is a folder, not an encoder or a config; segvit.from_pretrained loads trained models"
            ) from error
        near = get_close_matches(name, list_models(), n=3)
        hint = f" (near: {', '.join(near)})" if near else ""
        raise ArgumentError("name", f"{name!r} is no encoder of segvit.list_models(){hint}, and {error}") from error


def class_names(classes: Sequence[str]) -> tuple[str, ...]:
    """The names as a tuple. Raises ArgumentError unless all are different and not empty."""
    if isinstance(classes, str):
        raise ArgumentError("classes", f"must be a list of names, not {classes!r}")
    names = tuple(classes)
    for index, name in enumerate(names):
        if not isinstance(name, str) or not name.strip():
            raise ArgumentError("classes", f"must be a list of names, but {index} is {name!r}")
        if name in names[:index]:
            raise ArgumentError("classes", f"{names.index(name)} and {index} are both {name!r}: give each its own name")
    return names


def class_count(num_classes: int | None, classes: Sequence[str]) -> int | None:
    """K of the arguments; None if neither says it. Raises ArgumentError if they contradict each other."""
    if isinstance(num_classes, int) and num_classes < 1:
        raise ArgumentError("num_classes", f"{num_classes} must be at least 1")
    if num_classes is not None and classes and num_classes != len(classes):
        raise ArgumentError("num_classes", f"{num_classes} is not the number of `classes`, {len(classes)}")
    return num_classes if num_classes is not None else len(classes) or None


def config_pretrained(pretrained: bool | str) -> dict[str, Any]:
    """For the model of a config: its own pre-trained weights if True, none if False."""
    if pretrained is True:
        return {}
    return {"MODEL.VIT.PRETRAINED": pretrained or ""}


def encoder_keys(name: str, *, pretrained: bool | str, chosen: dict[str, Any]) -> dict[str, Any]:
    """The paper's recipe for an encoder: its stages, decoder width, and the pixel statistics of its pre-training."""
    architecture, tag = split_model_name_tag(name)
    sizes = {"patch_size": "PATCH_SIZE", "embed_dim": "EMBED_DIM", "depth": "DEPTH", "num_heads": "NUM_HEADS"}
    given = {argument: chosen.get(f"MODEL.VIT.{key}") for argument, key in sizes.items()}
    with torch.device("meta"):
        vit = create_timm_vit(
            architecture, img_size=(224, 224), **{argument: size for argument, size in given.items() if size}
        )
    stages = sorted({max(round(share * len(vit.blocks)) - 1, 0) for share in STAGES})
    stages = list(chosen.get("MODEL.VIT.OUT_INDICES", stages))
    width = max(vit.embed_dim // 2 // HEAD_DIM, 1) * HEAD_DIM
    try:
        known = timm.get_pretrained_cfg(name)
    except RuntimeError as error:
        tags = ", ".join(listed.removeprefix(f"{architecture}.") for listed in timm.list_pretrained(architecture))
        raise ArgumentError("name", f"{name!r} has no tag of timm; tags of {architecture} are {tags}") from error
    statistics = {"MEAN": known.mean, "STD": known.std} if known is not None else {}
    if pretrained is True:
        tag = tag or default_tag(architecture)
    return {
        "MODEL.VIT.NAME": architecture,
        "MODEL.VIT.PRETRAINED": tag if pretrained is True else pretrained or "",
        "MODEL.VIT.OUT_INDICES": stages,
        "MODEL.SEM_SEG_HEAD.IN_FEATURES": [f"block{index}" for index in stages[::-1]],
        "MODEL.VIT.KEEP_PREFIX_TOKENS": True,
        "MODEL.SEGVIT.HIDDEN_DIM": width,
        "MODEL.SEGVIT.NUM_HEADS": width // HEAD_DIM,
        "INPUT.FORMAT": "RGB",
        "INPUT.MIN_SIZE_TEST": 0,
        **{f"MODEL.PIXEL_{key}": [round(255 * value, 3) for value in values] for key, values in statistics.items()},
    }


def default_tag(architecture: str) -> str:
    """The tag of timm's default weights. Raises ArgumentError if there are none."""
    known = timm.get_pretrained_cfg(architecture)
    if known is None or not known.tag:
        raise ArgumentError("pretrained", f"True: timm has no weights for {architecture}; give a file, or False")
    return known.tag
