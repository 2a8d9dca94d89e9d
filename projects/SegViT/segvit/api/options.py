"""Config options as keywords, such as `stem="conv"` for MODEL.VIT.STEM."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from segvit.config.continual_step import KEY
from segvit.config.model_keys import MODEL_KEYS
from segvit.model_folder.plain_config import INFERENCE_DEFAULTS

# Names that the arguments of `create_model` stand for, and keys that only Detectron2 reads or that follow from others.
NOT_OPTIONS = ("VERSION", "MODEL.META_ARCHITECTURE", "MODEL.WEIGHTS", "DATASETS.TRAIN", "DATASETS.TEST")
TEST_KEYS = (
    "TEST.WINDOW.ENABLED",
    "TEST.WINDOW.SIZE",
    "TEST.WINDOW.STRIDE",
    "TEST.WINDOW.BATCH_SIZE",
    "TEST.WINDOW.ACCUMULATE_ON_CPU",
    "TEST.PRECISION",
    "TEST.CONFIDENCE_TEMPERATURE",
    "INPUT.MAX_LEVEL",
    "INPUT.CHANNELS",
    "INPUT.LEVELS",
    "INPUT.PERCENTILES",
    "INPUT.SHOWN_CHANNELS",
)
IMAGE_SIZE = "MODEL.VIT.IMG_SIZE"
KEYS = tuple(
    key for key in (*(key.name for key in MODEL_KEYS), *INFERENCE_DEFAULTS, *TEST_KEYS) if key not in NOT_OPTIONS
)


def keys_of_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """{config key: value} of keywords.

    A keyword is a config key in lower case with "_" for ".", from any of its parts on: `vit_num_heads` or
    `model_vit_num_heads` for MODEL.VIT.NUM_HEADS, and `continual_hidden_dim` for that of later groups. The key itself
    works, too: `**{"MODEL.VIT.NUM_HEADS": 6}`.

    Raises:
        TypeError: no key, or several, have the name.
    """
    keys = {key_of(name): value for name, value in options.items()}
    if isinstance(keys.get(IMAGE_SIZE), int | float):  # one number for both sides
        keys[IMAGE_SIZE] = [keys[IMAGE_SIZE], keys[IMAGE_SIZE]]
    return keys


def key_of(name: str) -> str:
    """The config key of one keyword. Raises TypeError, as Python does for unknown keywords."""
    if name in KEYS:
        return name
    fitting = [key for key in KEYS if name in names_of(key)]
    # Keys of later groups need their prefix where a key of the first group has the same name.
    fitting = [key for key in fitting if not key.startswith(f"{KEY}.")] or fitting
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        spellings = " or ".join(names_of(key)[-2] for key in fitting)
        raise TypeError(f"the option {name!r} is ambiguous: write {spellings}")
    near = get_close_matches(name, [spelling for key in KEYS for spelling in names_of(key)], n=3, cutoff=0.5)
    hint = f"; near: {', '.join(near)}" if near else ""
    raise TypeError(f"there is no option {name!r}{hint}")


def names_of(key: str) -> list[str]:
    """The keywords of a config key, the longest first."""
    parts = key.lower().split(".")
    return ["_".join(parts[first:]) for first in range(len(parts))]
