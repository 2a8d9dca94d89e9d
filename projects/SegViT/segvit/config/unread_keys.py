"""Detectron2's config keys that SegViT reads, and the refusal of the others, with the key to use instead.

`get_cfg` of Detectron2 declares some 200 keys, most of them for detectors. A key that nothing here reads must keep its
default: a changed value would be ignored without a word.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any

from yacs.config import CfgNode

from segvit.config.conditional_keys import require_switches
from segvit.config.model_keys import OWN_COMPONENTS
from segvit.errors import UserError

# Keys of Detectron2 that are read, here or in the code of Detectron2 that runs (trainer, schedules, hooks, registries).
READ = frozenset(
    {
        "VERSION",
        "OUTPUT_DIR",
        "SEED",
        "CUDNN_BENCHMARK",
        "MODEL.DEVICE",
        "MODEL.META_ARCHITECTURE",
        "MODEL.WEIGHTS",
        "MODEL.PIXEL_MEAN",
        "MODEL.PIXEL_STD",
        "MODEL.BACKBONE.NAME",
        "MODEL.SEM_SEG_HEAD.NAME",
        "MODEL.SEM_SEG_HEAD.IN_FEATURES",
        "MODEL.SEM_SEG_HEAD.IGNORE_VALUE",
        "MODEL.SEM_SEG_HEAD.NUM_CLASSES",
        "INPUT.MIN_SIZE_TRAIN",
        "INPUT.MIN_SIZE_TRAIN_SAMPLING",
        "INPUT.MAX_SIZE_TRAIN",
        "INPUT.MIN_SIZE_TEST",
        "INPUT.MAX_SIZE_TEST",
        "INPUT.RANDOM_FLIP",
        "INPUT.CROP.ENABLED",
        "INPUT.CROP.TYPE",
        "INPUT.CROP.SIZE",
        "INPUT.FORMAT",
        "DATASETS.TRAIN",
        "DATASETS.TEST",
        "DATALOADER.NUM_WORKERS",
        "DATALOADER.SAMPLER_TRAIN",
        "DATALOADER.REPEAT_THRESHOLD",
        "DATALOADER.FILTER_EMPTY_ANNOTATIONS",
        "SOLVER.LR_SCHEDULER_NAME",
        "SOLVER.MAX_ITER",
        "SOLVER.BASE_LR",
        "SOLVER.BASE_LR_END",
        "SOLVER.WEIGHT_DECAY",
        "SOLVER.GAMMA",
        "SOLVER.STEPS",
        "SOLVER.NUM_DECAYS",
        "SOLVER.WARMUP_FACTOR",
        "SOLVER.WARMUP_ITERS",
        "SOLVER.WARMUP_METHOD",
        "SOLVER.RESCALE_INTERVAL",
        "SOLVER.CHECKPOINT_PERIOD",
        "SOLVER.IMS_PER_BATCH",
        "SOLVER.REFERENCE_WORLD_SIZE",
        "SOLVER.BIAS_LR_FACTOR",
        "SOLVER.CLIP_GRADIENTS.ENABLED",
        "SOLVER.CLIP_GRADIENTS.CLIP_TYPE",
        "SOLVER.CLIP_GRADIENTS.CLIP_VALUE",
        "SOLVER.CLIP_GRADIENTS.NORM_TYPE",
        "SOLVER.AMP.ENABLED",
        "TEST.EXPECTED_RESULTS",
        "TEST.EVAL_PERIOD",
        "TEST.AUG.ENABLED",
        "TEST.AUG.MIN_SIZES",
        "TEST.AUG.MAX_SIZE",
        "TEST.AUG.FLIP",
        "TEST.PRECISE_BN.ENABLED",
        "TEST.PRECISE_BN.NUM_ITER",
    }
)

# Keys that say where a run computed, not what: a model folder does not hold them.
LOCAL = (
    *(
        "OUTPUT_DIR",
        "DATASETS.FOLDER",
        "DATASETS.HF_CLASSES",
        "DATALOADER.NUM_WORKERS",
        "MODEL.DEVICE",
        "MODEL.WEIGHTS",
    ),
    *("TRACKING.TO", "TRACKING.PROJECT", "TRACKING.NAME"),
)

# Why other keys are not read, and what to use, by key or group of keys; the longest that fits applies.
REASONS = {
    "": "SegViT does not read it",
    "MODEL": "it belongs to models of Detectron2 that are not SegViT",
    "MODEL.BACKBONE.FREEZE_AT": "the encoder has no stages to freeze; MODEL.VIT.FROZEN True freezes all of it",
    "MODEL.RESNETS": "the encoder is described by MODEL.VIT",
    "MODEL.FPN": "the decoder reads the stages of MODEL.SEM_SEG_HEAD.IN_FEATURES as they are",
    "MODEL.SEM_SEG_HEAD": "the decoder is described by MODEL.SEGVIT",
    "MODEL.SEM_SEG_HEAD.CONVS_DIM": "the width of the decoder is MODEL.SEGVIT.HIDDEN_DIM",
    "MODEL.SEM_SEG_HEAD.COMMON_STRIDE": "masks have the stride of the patches; MODEL.VIT.PATCH_SIZE changes it",
    "MODEL.SEM_SEG_HEAD.LOSS_WEIGHT": "losses are weighted by MODEL.SEGVIT.CLASS_WEIGHT, FOCAL_WEIGHT and DICE_WEIGHT",
    "INPUT.MASK_FORMAT": "masks are read from label maps",
    "DATASETS": "there are no proposals in semantic segmentation",
    "DATALOADER.ASPECT_RATIO_GROUPING": "batches are never grouped, since all are padded to one size; False says so",
    "SOLVER.MOMENTUM": "the optimizer is AdamW",
    "SOLVER.NESTEROV": "the optimizer is AdamW",
    "SOLVER.WEIGHT_DECAY_NORM": "norms have SOLVER.WEIGHT_DECAY unless SOLVER.NO_WEIGHT_DECAY lists them ('*norm*')",
    "SOLVER.WEIGHT_DECAY_BIAS": "biases have SOLVER.WEIGHT_DECAY unless SOLVER.NO_WEIGHT_DECAY lists them ('*.bias')",
    "TEST": "it belongs to detection",
    "VIS_PERIOD": "TEST.SAVE_PREDICTIONS writes the predictions of each evaluation",
}

# Values besides the default that ask for what happens anyway.
GRANTED = {"DATALOADER.ASPECT_RATIO_GROUPING": False}


def require_read(
    cfg: CfgNode,
    defaults: CfgNode,
    layers: Sequence[Iterable[str]] | None = None,
    *,
    shared: bool = False,
    trains: bool = True,
) -> None:
    """Check that every key with a changed value is read.

    Args:
        cfg: the config.
        defaults: a config with the same keys and their defaults.
        layers: see `require_switches`; by default one layer sets all keys that differ from their defaults.
        shared: the last layer is that of several configs.
        trains: the config is that of a training, which warns of keys without effect in files that runs have written.

    Raises:
        UserError: naming the first key that is not, and the remedy.
    """
    values, unchanged = flat(cfg), flat(defaults)
    # A component of another project may read any key below MODEL.
    foreign = any(values[key] not in own for key, own in OWN_COMPONENTS.items())
    for key in detectron2_keys() - READ:
        if foreign and key.startswith("MODEL."):
            continue
        if values[key] not in (unchanged[key], GRANTED.get(key, unchanged[key])):
            raise UserError(
                f"{key} {values[key]!r} would have no effect: {reason(key)}. Leave it at {unchanged[key]!r}"
            )
    if layers is None:
        layers = [{key for key, value in values.items() if value != unchanged[key]}]
    tolerant = {index for index, layer in enumerate(layers) if READ - set(LOCAL) <= set(layer)}
    if shared:
        tolerant.add(len(layers) - 1)
    require_switches(values, unchanged, layers, tolerant=tolerant, foreign=foreign, warns=trains or shared)


def reason(key: str) -> str:
    """Why a key is not read, and what to use instead."""
    return REASONS[max((group for group in REASONS if not group or f"{key}.".startswith(f"{group}.")), key=len)]


@cache
def detectron2_keys() -> frozenset[str]:
    """All keys that Detectron2 declares."""
    from detectron2.config import get_cfg

    return frozenset(flat(get_cfg()))


def flat(node: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """{dotted key: value}, with tuples as lists at any depth: YAML and command lines do not keep them apart."""
    values: dict[str, Any] = {}
    for key, value in node.items():
        values |= flat(value, f"{prefix}{key}.") if isinstance(value, CfgNode) else {f"{prefix}{key}": plain(value)}
    return values


def plain(value: Any) -> Any:
    """Tuples as lists, at any depth."""
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value
