"""`plain_config`: the config of a model without Detectron2, and `portable_keys`: the keys that a model folder holds."""

from __future__ import annotations

import ast
import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from yacs.config import CfgNode

from segvit import __version__
from segvit.config.continual_step import KEY as CONTINUAL
from segvit.config.continual_step import continual_step
from segvit.config.model_keys import MODEL_KEYS
from segvit.config.overrides import words_of
from segvit.config.training_keys import TRAINING_KEYS
from segvit.config.unread_keys import LOCAL, READ, flat
from segvit.config.validation import require_types, require_values
from segvit.errors import UserError

# Keys of Detectron2 that the model and its preprocessing read, with Detectron2's defaults; but the device is the CPU.
INFERENCE_DEFAULTS: Mapping[str, Any] = {
    "VERSION": 2,
    "MODEL.DEVICE": "cpu",
    "MODEL.WEIGHTS": "",
    "MODEL.PIXEL_MEAN": [103.53, 116.28, 123.675],
    "MODEL.PIXEL_STD": [1.0, 1.0, 1.0],
    "MODEL.SEM_SEG_HEAD.NUM_CLASSES": 54,
    "MODEL.SEM_SEG_HEAD.IGNORE_VALUE": 255,
    "INPUT.FORMAT": "BGR",
    "INPUT.MIN_SIZE_TEST": 800,
    "INPUT.MAX_SIZE_TEST": 1333,
    "DATASETS.TRAIN": (),
    "DATASETS.TEST": (),
}
OWN_DEFAULTS: Mapping[str, Any] = {key.name: key.default for key in (*MODEL_KEYS, *TRAINING_KEYS)}


def plain_config(*layers: Mapping[str, Any], origin: str = "") -> CfgNode:
    """A config with SegViT's keys, those of Detectron2 that the model reads, and the values of layers of dotted keys.

    Other keys that a training reads are taken over unchecked.

    Args:
        layers: later ones replace the values of earlier ones.
        origin: begins the message of an error.

    Raises:
        UserError: a key is unknown, or a value has the wrong type or is out of range.
    """
    cfg = CfgNode()
    for key, default in {**INFERENCE_DEFAULTS, **OWN_DEFAULTS}.items():
        set_key(cfg, key, copy.deepcopy(default))
    checked = set(flat(cfg))
    for layer in layers:
        unknown = [key for key in layer if key not in checked and key not in READ]
        if unknown:
            raise UserError(
                f"{origin}there is no config key {', nor '.join(unknown)} in version {__version__} of segvit"
            )
        if layer.get("VERSION", cfg.VERSION) != cfg.VERSION:
            raise UserError(
                f"{origin}VERSION {layer['VERSION']} is not {cfg.VERSION}, that of configs of segvit {__version__}"
            )
        known = {key: value for key, value in layer.items() if key in checked}
        require_types(known.items(), cfg, origin=origin)
        cfg.merge_from_list(words_of(known))
        for key in layer.keys() - checked:
            set_key(cfg, key, _literal(layer[key]))
    require_values(cfg)
    return cfg


def _literal(value: Any) -> Any:
    """A value as yacs reads it: texts such as "(360,)" are Python literals."""
    try:
        return ast.literal_eval(value) if isinstance(value, str) else copy.deepcopy(value)
    except (ValueError, SyntaxError):
        return value


def portable_keys(cfg: CfgNode) -> dict[str, Any]:
    """{dotted key: value} of all keys that SegViT reads, without paths and devices of this machine.

    Groups of classes are listed by id, so that no dataset is needed to tell them.
    """
    values = {key: value for key, value in flat(cfg).items() if key in READ or key in OWN_DEFAULTS}
    if is_path(values["MODEL.VIT.PRETRAINED"]):
        values["MODEL.VIT.PRETRAINED"] = ""
    step = continual_step(cfg)
    if step is not None:
        values[f"{CONTINUAL}.PROTOCOL"], values[f"{CONTINUAL}.CLASS_ORDER"] = "", []
        values[f"{CONTINUAL}.GROUPS"] = [list(group) for group in step.groups]
        values[f"{CONTINUAL}.CLASSES"] = list(step.class_names)
        values[f"{CONTINUAL}.STEP"] = step.index
        values[f"{CONTINUAL}.BACKGROUND_CLASS"] = ""  # a name of the training data, which prediction does not need
    return {key: value for key, value in values.items() if key not in LOCAL}


def is_path(pretrained: str) -> bool:
    """Whether MODEL.VIT.PRETRAINED names a file, not a tag of timm's weights."""
    return (
        len(Path(pretrained).parts) > 1 or Path(pretrained).is_file() or pretrained.endswith((".pth", ".safetensors"))
    )


def set_key(cfg: CfgNode, key: str, value: Any) -> None:
    """Set a dotted key, declared or not."""
    *parents, leaf = key.split(".")
    for parent in parents:
        if parent not in cfg:
            cfg[parent] = CfgNode()
        cfg = cfg[parent]
    cfg[leaf] = value


def nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted keys as the nested dict of a YAML file."""
    root: dict[str, Any] = {}
    for key, value in sorted(values.items()):
        *parents, leaf = key.split(".")
        node = root
        for parent in parents:
            node = node.setdefault(parent, {})
        node[leaf] = value
    return root
