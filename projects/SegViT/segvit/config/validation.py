"""`require_types` and `require_values`: checks of single config values, their types, names and ranges.

Checks that involve several keys or the encoder are in the builders.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce
from typing import Any

from yacs.config import CfgNode

from segvit.config.checks import finite, numbers, positive_numbers
from segvit.config.model_keys import MODEL_KEYS
from segvit.config.training_keys import DETECTRON2_CHECKS, TRAINING_KEYS
from segvit.errors import UserError, renamed_arguments
from segvit.modeling.weights.pretrained import require_weights_of_tag

TYPE_NAMES = {
    bool: "True or False",
    int: "a whole number",
    float: "a number with a decimal point",
    str: "a text",
    list: "a list",
    tuple: "a list",
}
CHECKS = DETECTRON2_CHECKS | {key.name: key.check for key in (*MODEL_KEYS, *TRAINING_KEYS)}


def require_types(pairs: Iterable[tuple[str, Any]], defaults: CfgNode, *, origin: str = "") -> None:
    """Check that each value has the type of its key's default. Strings are parsed first, as yacs does for overrides.

    Args:
        pairs: (key, value).
        defaults: a config with these keys.
        origin: begins the message.

    Raises:
        UserError: naming the key.
    """
    cfg = defaults.clone()
    for key, given in pairs:
        default = value_of(defaults, key)
        try:
            cfg.merge_from_list([key, given])
            fits = _has_type_of(default, value_of(cfg, key))
        except (AssertionError, ValueError):
            fits = False
        if not fits:
            raise UserError(f"{origin}{key} takes {_type_name(default)}, not {given!r}")


def require_values(cfg: CfgNode) -> None:
    """Check each value that has a check of its own. Raises UserError, naming the key."""
    for key, check in CHECKS.items():
        if not has_key(cfg, key):  # a config of inference has no solver
            continue
        value = value_of(cfg, key)
        value = list(value) if isinstance(value, tuple) else value
        problem = check(value) or finite(value)
        if problem:
            raise UserError(f"{key} {value!r} {problem}")
    _require_statistics(cfg)
    width = value_of(cfg, "MODEL.SEGVIT.HIDDEN_DIM")
    heads = value_of(cfg, "MODEL.SEGVIT.NUM_HEADS")
    if width % heads:
        raise UserError(f"MODEL.SEGVIT.HIDDEN_DIM {width} must be a multiple of MODEL.SEGVIT.NUM_HEADS {heads}")
    later = value_of(cfg, "MODEL.SEGVIT.CONTINUAL.HIDDEN_DIM")
    if later % (width // heads):
        raise UserError(
            f"MODEL.SEGVIT.CONTINUAL.HIDDEN_DIM {later} must be a multiple of {width // heads}, the width of a head of "
            "MODEL.SEGVIT"
        )
    require_named_weights(cfg)


def _require_statistics(cfg: CfgNode) -> None:
    """Raise UserError unless the pixel statistics have as many numbers as images have channels."""
    channels = value_of(cfg, "INPUT.CHANNELS")
    for key, check in (("MODEL.PIXEL_MEAN", numbers(channels)), ("MODEL.PIXEL_STD", positive_numbers(channels))):
        values = list(value_of(cfg, key))
        if problem := check(values):
            remedy = (
                ""
                if channels == 3
                else f" for INPUT.CHANNELS {channels}: check_dataset.py --measure-channels measures them"
            )
            raise UserError(f"{key} {values!r} {problem}{remedy}")


def require_named_weights(cfg: CfgNode) -> None:
    """Raise UserError if MODEL.VIT.NAME has the tag of weights that nothing loads."""
    if not value_of(cfg, "MODEL.WEIGHTS"):
        with renamed_arguments(name="MODEL.VIT.NAME", pretrained="MODEL.VIT.PRETRAINED"):
            require_weights_of_tag(value_of(cfg, "MODEL.VIT.NAME"), value_of(cfg, "MODEL.VIT.PRETRAINED"))


def value_of(cfg: CfgNode, key: str) -> Any:
    """The value of a dotted key."""
    return reduce(lambda node, part: node[part], key.split("."), cfg)


def has_key(cfg: CfgNode, key: str) -> bool:
    """Whether a config has a dotted key."""
    node: Any = cfg
    for part in key.split("."):
        if part not in node:
            return False
        node = node[part]
    return True


def _has_type_of(default: Any, value: Any) -> bool:
    """Whether `value` can replace `default`; yacs has compared their types, but neither None nor list elements."""
    if value is None or not isinstance(default, (list, tuple)):
        return (value is None) == (default is None)
    kinds = {type(element) for element in default}
    if len(kinds) != 1 or kinds <= {list, tuple}:
        return True
    allowed = {float, int} if kinds == {float} else kinds
    return all(type(element) in allowed for element in value)


def _type_name(default: Any) -> str:
    name = TYPE_NAMES.get(type(default), "a value")
    if isinstance(default, bool) or default == "":
        return name
    return f"{name} such as {('name',) if default in ((), []) else default!r}"
