"""Values of config keys that can be refused by themselves: wrong types, unknown names, numbers out of range.

What depends on several keys, or on the encoder, is refused by who builds the thing. The tables hold what nobody else
checks, Detectron2 least of all.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import reduce

from detectron2.config import CfgNode

KINDS = {
    bool: "True or False",
    int: "a whole number",
    float: "a number with a decimal point",
    str: "a text",
    list: "a list",
    tuple: "a list",
}

CHOICES = {
    "DATALOADER.SAMPLER_TRAIN": ("TrainingSampler", "RandomSubsetTrainingSampler"),
    "INPUT.CROP.TYPE": ("absolute", "absolute_range", "relative", "relative_range"),
    "INPUT.FORMAT": ("BGR", "RGB"),
    "INPUT.RANDOM_FLIP": ("horizontal", "vertical", "none"),
    "SOLVER.CLIP_GRADIENTS.CLIP_TYPE": ("full_model", "norm", "value"),
    "SOLVER.LR_SCHEDULER_NAME": (
        "WarmupPolyLR",
        "WarmupCosineLR",
        "WarmupMultiStepLR",
        "WarmupStepWithFixedGammaLR",
    ),
    "SOLVER.WARMUP_METHOD": ("linear", "constant"),
}

RANGES = {
    "DATALOADER.NUM_WORKERS": (0, math.inf),
    "INPUT.MAX_SIZE_TEST": (1, math.inf),
    "INPUT.MAX_SIZE_TRAIN": (1, math.inf),
    "INPUT.MIN_SIZE_TEST": (0, math.inf),
    "MODEL.SEM_SEG_HEAD.NUM_CLASSES": (0, math.inf),
    "MODEL.SEGVIT.DROPOUT": (0, 1),
    "MODEL.SEGVIT.HIDDEN_DIM": (1, math.inf),
    "MODEL.SEGVIT.MASK_LOSS_STRIDE": (1, math.inf),
    "MODEL.SEGVIT.NUM_HEADS": (1, math.inf),
    "MODEL.SEGVIT.NUM_LAYERS": (1, math.inf),
    "MODEL.SEGVIT.UPSAMPLING_LAYERS": (1, math.inf),
    "MODEL.VIT.DEPTH": (0, math.inf),
    "MODEL.VIT.DROP_PATH_RATE": (0, 1),
    "MODEL.VIT.EMBED_DIM": (0, math.inf),
    "MODEL.VIT.NUM_HEADS": (0, math.inf),
    "MODEL.VIT.PATCH_SIZE": (0, math.inf),
    "SOLVER.BASE_LR": (0, math.inf),
    "SOLVER.CHECKPOINT_PERIOD": (1, math.inf),
    "SOLVER.MAX_ITER": (1, math.inf),
    "SOLVER.WARMUP_ITERS": (0, math.inf),
    "SOLVER.WEIGHT_DECAY": (0, math.inf),
}

# Lists of two numbers above 0, such as a height and a width.
PAIRS = ("INPUT.CROP.SIZE", "INPUT.RESIZE_RATIO_RANGE", "MODEL.VIT.IMG_SIZE", "TEST.WINDOW.SIZE", "TEST.WINDOW.STRIDE")
# One number for each channel of an image.
TRIPLES = ("MODEL.PIXEL_MEAN", "MODEL.PIXEL_STD")


def require_types(pairs: Iterable[tuple[str, object]], defaults: CfgNode, *, origin: str = "") -> None:
    """Raise ValueError for a value of another type than its key's default; `origin` begins the message.

    Texts from the command line are taken for what they spell, as yacs does.
    """
    cfg = defaults.clone()
    for key, given in pairs:
        default = value_of(defaults, key)
        try:
            cfg.merge_from_list([key, given])
            fits = _is_like(value_of(cfg, key), default)
        except (AssertionError, ValueError):
            fits = False
        if not fits:
            raise ValueError(f"{origin}{key} takes {_kind(default)}, not {given!r}")


def require_values(cfg: CfgNode) -> None:
    """Raise ValueError, naming the key, for a name or a number that its key does not know."""
    for key, choices in CHOICES.items():
        value = value_of(cfg, key)
        if value not in choices:
            raise ValueError(f"{key} {value!r} must be {_alternatives(choices)}")
    for key, (low, high) in RANGES.items():
        value = value_of(cfg, key)
        if not low <= value <= high:  # not a number, too
            limits = f"at least {low}" if high == math.inf else f"from {low} to {high}"
            raise ValueError(f"{key} {value} must be {limits}")
    for count, keys in ((2, PAIRS), (3, TRIPLES)):
        for key in keys:
            value = value_of(cfg, key)
            if len(value) != count or (count == 2 and min(value) <= 0):
                raise ValueError(f"{key} {list(value)} must be {'two numbers above 0' if count == 2 else '3 numbers'}")


def value_of(cfg: CfgNode, key: str) -> object:
    """The value of a dotted key."""
    return reduce(lambda node, part: node[part], key.split("."), cfg)


def _is_like(value: object, default: object) -> bool:
    """Whether the type, and in a list those of the elements, is the default's; a list of numbers takes whole ones."""
    if value is None or not isinstance(default, (list, tuple)):
        return (value is None) == (default is None)
    kinds = {type(element) for element in default}
    if len(kinds) != 1 or kinds <= {list, tuple}:
        return True
    allowed = {float, int} if kinds == {float} else kinds
    return all(type(element) in allowed for element in value)


def _kind(default: object) -> str:
    kind = KINDS.get(type(default), "a value")
    if isinstance(default, bool) or default == "":
        return kind
    return f"{kind} such as {('name',) if default in ((), []) else default!r}"


def _alternatives(names: Iterable[str]) -> str:
    *others, last = map(repr, names)
    return f"{', '.join(others)} or {last}"
