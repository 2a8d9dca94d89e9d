"""Values of config keys that can be refused by themselves: wrong types, unknown names, numbers out of range.

What depends on several keys, or on the encoder, is refused by who builds the thing. The tables hold what nobody else
checks, Detectron2 least of all.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from difflib import get_close_matches
from functools import reduce

from detectron2.config import CfgNode
from detectron2.modeling import BACKBONE_REGISTRY, META_ARCH_REGISTRY, SEM_SEG_HEADS_REGISTRY

from segvit.errors import UserError

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

REGISTRIES = {
    "MODEL.BACKBONE.NAME": BACKBONE_REGISTRY,
    "MODEL.META_ARCHITECTURE": META_ARCH_REGISTRY,
    "MODEL.SEM_SEG_HEAD.NAME": SEM_SEG_HEADS_REGISTRY,
}

RANGES = {
    "DATALOADER.NUM_WORKERS": (0, math.inf),
    "INPUT.CROP.SINGLE_CATEGORY_MAX_AREA": (0, 1),
    "INPUT.MAX_LEVEL": (0, 2**31 - 1),
    "INPUT.MAX_SIZE_TEST": (1, math.inf),
    "INPUT.MAX_SIZE_TRAIN": (1, math.inf),
    "INPUT.MIN_SIZE_TEST": (0, math.inf),
    "INPUT.PHOTOMETRIC_STRENGTH": (0, 2),
    "MODEL.SEGVIT.CLASS_WEIGHT": (0, math.inf),
    "MODEL.SEGVIT.DICE_WEIGHT": (0, math.inf),
    "MODEL.SEGVIT.DROPOUT": (0, 1),
    "MODEL.SEGVIT.FOCAL_WEIGHT": (0, math.inf),
    "MODEL.SEGVIT.HIDDEN_DIM": (1, math.inf),
    "MODEL.SEGVIT.MASK_LOSS_STRIDE": (1, math.inf),
    "MODEL.SEGVIT.NO_OBJECT_WEIGHT": (0, math.inf),
    "MODEL.SEGVIT.NUM_HEADS": (1, math.inf),
    "MODEL.SEGVIT.NUM_LAYERS": (1, math.inf),
    "MODEL.SEGVIT.UPSAMPLING_LAYERS": (1, math.inf),
    "MODEL.SEM_SEG_HEAD.NUM_CLASSES": (0, math.inf),
    "MODEL.VIT.DEPTH": (0, math.inf),
    "MODEL.VIT.DROP_PATH_RATE": (0, 1),
    "MODEL.VIT.EMBED_DIM": (0, math.inf),
    "MODEL.VIT.INIT_STD": (0, math.inf),
    "MODEL.VIT.NUM_HEADS": (0, math.inf),
    "MODEL.VIT.PATCH_SIZE": (0, math.inf),
    "SOLVER.CHECKPOINT_PERIOD": (1, math.inf),
    "SOLVER.DECODER_LR_MULTIPLIER": (0, math.inf),
    "SOLVER.MAX_ITER": (1, math.inf),
    "SOLVER.WARMUP_FACTOR": (0, math.inf),
    "SOLVER.WARMUP_ITERS": (0, math.inf),
    "SOLVER.WEIGHT_DECAY": (0, math.inf),
}

# Numbers above 0, and lists of them that hold so many: a height and a width, one for each channel, any number.
POSITIVE = ("SOLVER.BASE_LR", "SOLVER.CLIP_GRADIENTS.CLIP_VALUE", "SOLVER.LAYER_DECAY")
POSITIVE_LISTS = {
    "INPUT.CROP.SIZE": 2,
    "INPUT.MIN_SIZE_TRAIN": None,
    "INPUT.RESIZE_RATIO_RANGE": 2,
    "MODEL.PIXEL_STD": 3,
    "MODEL.VIT.IMG_SIZE": 2,
    "TEST.WINDOW.SIZE": 2,
    "TEST.WINDOW.STRIDE": 2,
}


def require_types(pairs: Iterable[tuple[str, object]], defaults: CfgNode, *, origin: str = "") -> None:
    """Raise UserError for a value of another type than its key's default; `origin` begins the message.

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
            raise UserError(f"{origin}{key} takes {_kind(default)}, not {given!r}")


def require_values(cfg: CfgNode) -> None:
    """Raise UserError, naming the key, for a name or a number that its key does not know."""
    for key, choices in CHOICES.items():
        value = value_of(cfg, key)
        if value not in choices:
            raise UserError(f"{key} {value!r} must be {_alternatives(choices)}")
    for key, registry in REGISTRIES.items():
        name = value_of(cfg, key)
        if name not in registry:
            (near,) = get_close_matches(name, [known for known, _ in registry], n=1, cutoff=0.0)
            raise UserError(f"{key} {name!r} does not exist (the nearest is {near})")
    for key, (low, high) in RANGES.items():
        value = value_of(cfg, key)
        if not low <= value <= high:  # not a number, too
            limits = f"at least {low}" if high == math.inf else f"from {low} to {high}"
            raise UserError(f"{key} {value} must be {limits}")
    for key in POSITIVE:
        if not value_of(cfg, key) > 0:
            raise UserError(f"{key} {value_of(cfg, key)} must be above 0")
    for key, count in POSITIVE_LISTS.items():
        value = list(value_of(cfg, key))
        if len(value) != (count or max(len(value), 1)) or not all(number > 0 for number in value):
            raise UserError(f"{key} {value} must be {count or 'one or more'} numbers above 0")
    if len(value_of(cfg, "MODEL.PIXEL_MEAN")) != 3:
        raise UserError(f"MODEL.PIXEL_MEAN {list(value_of(cfg, 'MODEL.PIXEL_MEAN'))} must be 3 numbers")
    _require_heads(cfg)


def _require_heads(cfg: CfgNode) -> None:
    """Raise UserError where the decoder's width cannot be shared out among its heads."""
    width, heads = value_of(cfg, "MODEL.SEGVIT.HIDDEN_DIM"), value_of(cfg, "MODEL.SEGVIT.NUM_HEADS")
    if width % heads:
        raise UserError(f"MODEL.SEGVIT.HIDDEN_DIM {width} must be a multiple of MODEL.SEGVIT.NUM_HEADS {heads}")


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
