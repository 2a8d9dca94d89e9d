"""`load_config`: a config from YAML files and `KEY VALUE` overrides, with errors that name the key and the remedy."""

from __future__ import annotations

import logging
from ast import literal_eval
from collections.abc import Sequence
from difflib import get_close_matches
from itertools import chain
from pathlib import Path
from typing import Any

import torch
import yaml
from yacs.config import CfgNode

from segvit.config.continual_step import model_names_classes, set_num_classes
from segvit.config.defaults import get_segvit_cfg
from segvit.config.overrides import Layer, dotted, pairs_of, require_known, require_pairs, words_of
from segvit.config.unread_keys import require_read
from segvit.config.validation import require_types, require_values, value_of
from segvit.errors import UserError

# In a YAML file, the key of the files that it is based on (fvcore's).
BASE_KEY = "_BASE_"

# The files of a model folder that hold config and weights.
MODEL_CONFIG, MODEL_WEIGHTS = "config.yaml", "model.safetensors"

# libyaml's, where PyYAML has it.
FAST_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

# Keys whose value is YAML, or may be a YAML file, whose text the config then holds.
YAML_VALUES = ("INPUT.AUGMENTATION",)

# The folder of the shipped configs.
CONFIGS = Path(__file__).parents[2] / "configs"

# Keys that no longer exist: the default, which configs saved by older versions set, and why the key was removed.
REMOVED_KEYS = {
    "MODEL.SEGVIT.CONTINUAL.SHARED_DECODER": (
        False,
        "on CamVid 7-4 new classes reached 4.5 mIoU with it, and 30.3 with a decoder of their own "
        "(docs/continual.md); delete it",
    ),
}

# Shipped configs that no longer exist, and what replaces them.
FORMER_CONFIGS = {"ade20k_100-50_shuffled": "continual/ade20k_100-50_b"}
logger = logging.getLogger(__name__)


def find_config(name: str | Path) -> Path:
    """The path of a config.

    Args:
        name: a path to a YAML file or a model folder; or the name of a shipped config, such as
            "camvid/segvit_scratch_320x240", with or without its folder and its extension.

    Raises:
        UserError: there is no such file, or several shipped configs have this name.
    """
    path = Path(name).expanduser()
    if path.is_file() or Path(path, MODEL_WEIGHTS).is_file():
        return path
    key = path.as_posix().removesuffix(".yaml")
    if path.stem in FORMER_CONFIGS:
        return config_file(path)
    if path.is_absolute():
        raise UserError(f"config file {str(path)!r} does not exist")
    shipped = {file.relative_to(CONFIGS).with_suffix("").as_posix(): file for file in CONFIGS.rglob("*.yaml")}
    matches = [key] if key in shipped else [candidate for candidate in shipped if candidate.endswith(f"/{key}")]
    if len(matches) == 1:
        return shipped[matches[0]]
    if matches:
        raise UserError(f"config {str(name)!r} is ambiguous: {' or '.join(sorted(matches))}")
    leaves = [candidate for candidate in shipped if "Base-" not in candidate]
    near = get_close_matches(key, leaves, n=2, cutoff=0.4)
    hint = f"; near: {', '.join(near)}" if near else ""
    raise UserError(f"config {str(name)!r} is neither a file nor the name of a config in {CONFIGS}{hint}")


def _read_yaml_values(cfg: CfgNode) -> None:
    """Replace the YAML files that values of YAML_VALUES name by their texts, in place."""
    for key in YAML_VALUES:
        name = value_of(cfg, key)
        if not name.endswith((".yaml", ".yml")):
            continue
        file = Path(name).expanduser()
        if not file.is_file():
            raise UserError(f"{key} {name!r} does not exist")
        cfg.merge_from_list([key, _kept_text(key, file.read_text(encoding="utf-8"))])


def _kept_text(key: object, value: Any) -> Any:
    """A value that yacs leaves as it is: it would take a text of YAML_VALUES in flow style for a list of Python's."""
    if key not in YAML_VALUES or not isinstance(value, str):
        return value
    try:
        return f"---\n{value}" if isinstance(literal_eval(value), list | dict) else value
    except (ValueError, SyntaxError):
        return value


def config_file(path: str | Path) -> Path:
    """The file of a config: that of a model folder, or, with a warning, of the config that replaces a removed one."""
    path = Path(path)
    if Path(path, MODEL_WEIGHTS).is_file():
        return path / MODEL_CONFIG
    if path.is_file() or path.stem not in FORMER_CONFIGS:
        return path
    logger.warning("config %s was removed; %s replaces it", path, FORMER_CONFIGS[path.stem])
    return CONFIGS / f"{FORMER_CONFIGS[path.stem]}.yaml"


def load_config(path: str | Path, opts: Sequence[object] = (), *, shared: bool = False, trains: bool = True) -> CfgNode:
    """A SegViT config from a YAML file (with its `_BASE_` files) and `KEY VALUE` overrides.

    Also registers the datasets of the folder DATASETS.FOLDER. Of a model folder, MODEL.WEIGHTS becomes its weights.

    Args:
        path: of the file, or of a model folder.
        opts: keys and values in turn.
        shared: the overrides are those of several configs: keys whose switch is off in this one are a warning.
        trains: see `require_read`.

    Raises:
        UserError: a file is missing, not plain YAML, or has an unknown key; the overrides are not pairs of known keys
            and values, or contain a `--flag`; a value has the wrong type or is out of range; a changed key is one that
            nothing reads (`unread_keys.py`), or not with this config (`conditional_keys.py`); the folder and the config
            do not fit.
    """
    from segvit.datasets import register_config_folder, register_hugging_face

    cfg = get_segvit_cfg()
    if Path(path, MODEL_WEIGHTS).is_file():
        cfg.MODEL.WEIGHTS = str(Path(path, MODEL_WEIGHTS))
        cfg.MODEL.DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
    known = [key for key, _ in dotted(cfg)]
    for key in REMOVED_KEYS:
        cfg.register_deprecated_key(key)
    layers = []
    for file, layer in config_layers(path):
        origin = f"config file {file}: "
        layer = {key: _kept_text(key, value) for key, value in _without_removed(layer, origin=origin).items()}
        require_known(layer, known, origin=origin)
        require_types(layer.items(), cfg, origin=origin)
        _require_version(layer, cfg, origin=origin)
        layers.append(layer)
    require_pairs(opts, [*known, *REMOVED_KEYS])
    opts = [*chain.from_iterable((key, _kept_text(key, value)) for key, value in zip(opts[::2], opts[1::2]))]
    layers.append(_without_removed(pairs_of(opts)))
    require_types(((str(key), value) for key, value in zip(opts[::2], opts[1::2]) if key not in REMOVED_KEYS), cfg)
    for layer in layers[:-1]:
        cfg.merge_from_list(words_of(layer))
    cfg.merge_from_list(list(opts))
    _read_yaml_values(cfg)
    require_values(cfg)
    require_read(cfg, get_segvit_cfg(), layers, shared=shared, trains=trains)
    names_classes = model_names_classes(cfg)
    register_hugging_face(cfg, model_names_classes=names_classes)
    register_config_folder(cfg, model_names_classes=names_classes)
    if names_classes:
        set_num_classes(cfg)
    return cfg


def config_layers(path: str | Path) -> list[tuple[Path, Layer]]:
    """The keys that each file of a config sets, as {"SOLVER.BASE_LR": value}: its `_BASE_` files come first.

    Args:
        path: of the file, or of a model folder.

    Raises:
        UserError: a file is missing, not plain YAML, or its own `_BASE_`.
    """
    return _layers(config_file(path), ())


def _layers(path: Path, above: tuple[Path, ...]) -> list[tuple[Path, Layer]]:
    """The layers of a file; `above` are the files that have it as a base."""
    content = _read_yaml(path)
    bases = content.pop(BASE_KEY, [])
    bases = [bases] if isinstance(bases, str) else bases
    if not isinstance(bases, list) or not all(isinstance(base, str) for base in bases):
        raise UserError(f"config file {path}: {BASE_KEY} takes a file name or a list of them, not {bases!r}")
    layers = []
    above = (*above, path.resolve())
    for base in bases:
        file = path.parent / Path(base).expanduser()
        if not file.is_file():
            raise UserError(f"config file {str(file)!r} does not exist; {path} names it as {BASE_KEY}")
        if file.resolve() in above:
            raise UserError(f"config file {path} names {file} as {BASE_KEY}, which has {path} as a base itself")
        layers += _layers(file, above)
    return [*layers, (path, dict(dotted(content)))]


def _read_yaml(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise UserError(f"config file {str(path)!r} does not exist")
    try:
        text = path.read_text(encoding="utf-8")
        try:
            content = FAST_LOADER(text).get_single_data()
        except yaml.YAMLError:
            content = yaml.safe_load(text)  # whose error shows the line
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"config file {path} is not plain YAML: {error}") from error
    if not isinstance(content, dict):
        raise UserError(f"config file {path} must hold keys and values, not {content!r:.40}")
    return content


def _without_removed(layer: Layer, *, origin: str = "") -> Layer:
    """Drop removed keys that have their old default. Raises UserError for any other value."""
    for key, (default, reason) in REMOVED_KEYS.items():
        if str(layer.get(key, default)) != str(default):
            raise UserError(f"{origin}{key} was removed: {reason}")
    return {key: value for key, value in layer.items() if key not in REMOVED_KEYS}


def _require_version(layer: Layer, cfg: CfgNode, *, origin: str) -> None:
    version = layer.get("VERSION", cfg.VERSION)
    if version != cfg.VERSION:
        raise UserError(f"{origin}VERSION {version} is not that of SegViT's configs, {cfg.VERSION}")
