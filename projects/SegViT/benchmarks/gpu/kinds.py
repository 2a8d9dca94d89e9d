"""Every kind of model that the project has, in small size, with random weights."""

from __future__ import annotations

from pathlib import Path

from detectron2.config import CfgNode

from segvit.d2 import load_config

CONFIGS = Path(__file__).parents[2] / "configs"

NUM_CLASSES = 12
SMALL_ENCODER = [
    *("MODEL.VIT.PRETRAINED", "", "MODEL.VIT.IMG_SIZE", "[128,128]", "INPUT.CROP.SIZE", "[128,128]"),
    *("MODEL.VIT.EMBED_DIM", "96", "MODEL.VIT.NUM_HEADS", "3"),
    *("MODEL.SEM_SEG_HEAD.NUM_CLASSES", str(NUM_CLASSES)),
    *("MODEL.VIT.INIT_STD", "0.1"),
    # No randomness in the forward pass, so that two devices can be compared.
    *("MODEL.VIT.DROP_PATH_RATE", "0.0"),
    *("TEST.WINDOW.ENABLED", "False"),
    *("SOLVER.NO_WEIGHT_DECAY", "[]"),
]
SMALL = [
    *SMALL_ENCODER,
    *("MODEL.SEGVIT.HIDDEN_DIM", "48", "MODEL.SEGVIT.NUM_HEADS", "3", "MODEL.SEGVIT.INIT_STD", "0.15"),
    *("MODEL.SEGVIT.DROPOUT", "0.0"),
]
NO_DATA = ["DATASETS.TRAIN", "()", "DATASETS.TEST", "()"]
DIAGONAL = ["MODEL.SEGVIT.OUTPUT", "diagonal"]
PIXEL_LOSS = ["MODEL.SEGVIT.LOSS", "pixel", "MODEL.SEGVIT.OUTPUT", "softmax"]
# Random edge heads give probabilities around one half: some tokens are kept and some are not.
HALF_KEPT = ["MODEL.VIT.EDGE.THRESHOLD", "0.5"]
TOPK = ["MODEL.VIT.EDGE.SELECTION", "topk"]
CONTINUAL = ["MODEL.SEGVIT.CONTINUAL.PROTOCOL", "8-4", "MODEL.SEGVIT.CONTINUAL.ITERATIONS", "[]"]
DETAIL = ["MODEL.SEGVIT.DETAIL.SOURCE", "image", "MODEL.SEGVIT.DETAIL.DIM", "16"]
CELLS = ["MODEL.VIT.REDUCTION", "cells"]
MERGE = ["MODEL.VIT.REDUCTION", "merge", "MODEL.VIT.MERGE.BLOCK", "0"]
FROZEN = ["MODEL.VIT.FROZEN", "True", "MODEL.VIT.FROZEN_PRECISION", "bfloat16"]
COMPETITION = ["MODEL.SEGVIT.CONTINUAL.COMPETITION_WEIGHT", "1.0"]

PLAIN = "ade20k/segvit_vit_base_512.yaml"
SHRUNK_PP = "ade20k/segvitv2_vit_base_512_shrunk_pp.yaml"
STEPS = "continual/ade20k_100-50.yaml"
KINDS: dict[str, tuple[str, list[str]]] = {
    "plain, mix": (PLAIN, SMALL),
    "plain, diagonal": (PLAIN, [*SMALL, *DIAGONAL]),
    "plain, recomputed blocks": (PLAIN, [*SMALL, "MODEL.VIT.GRADIENT_CHECKPOINTING", "True"]),
    "plain, ignored pixels excluded": (PLAIN, [*SMALL, "MODEL.SEGVIT.EXCLUDE_IGNORED_PIXELS", "True"]),
    "Shrunk": ("ade20k/segvit_vit_large_640_shrunk.yaml", SMALL),
    "Shrunk++, threshold": (SHRUNK_PP, [*SMALL, *HALF_KEPT]),
    "Shrunk++, topk": (SHRUNK_PP, [*SMALL, *TOPK]),
    "cells, threshold": (PLAIN, [*SMALL, *CELLS, *HALF_KEPT]),
    "cells, topk": (PLAIN, [*SMALL, *CELLS, *TOPK]),
    "merge": (PLAIN, [*SMALL, *MERGE]),
    "detail, encoder's loss": (PLAIN, [*SMALL, *DETAIL, "MODEL.SEGVIT.ENCODER_WEIGHT", "1.0"]),
    "frozen in bfloat16": (PLAIN, [*SMALL, *FROZEN]),
    "BEiTv2": ("ade20k/segvitv2_beitv2_large_640.yaml", SMALL),
    "BEiTv2, Shrunk++": ("ade20k/segvitv2_beitv2_large_640_shrunk_pp.yaml", [*SMALL, *HALF_KEPT]),
    "DINOv2": (
        "ade20k/segvitv2_dinov2_base_518.yaml",
        [*SMALL, "MODEL.VIT.IMG_SIZE", "[126,126]", "INPUT.CROP.SIZE", "[126,126]"],
    ),
    "DINOv3, rotary": ("ade20k/segvitv2_dinov3_base_512.yaml", SMALL),
    "conv stem": (
        "custom/segvit_scratch.yaml",
        [*NO_DATA, *SMALL, "MODEL.VIT.NUM_HEADS", "2", "MODEL.SEGVIT.NUM_HEADS", "2"],
    ),
    "pixel loss": (PLAIN, [*SMALL, *PIXEL_LOSS]),
    "linear head": (
        PLAIN,
        [
            *SMALL_ENCODER,
            *PIXEL_LOSS,
            "MODEL.SEM_SEG_HEAD.NAME",
            "PerPixelHead",
            "MODEL.SEM_SEG_HEAD.IN_FEATURES",
            "['block11']",
        ],
    ),
    "continual, first step": (STEPS, [*SMALL, *CONTINUAL, "MODEL.SEGVIT.CONTINUAL.STEP", "0"]),
    "continual, second step": (STEPS, [*SMALL, *CONTINUAL]),
    "continual, COMPETITION_WEIGHT": (STEPS, [*SMALL, *CONTINUAL, *COMPETITION]),
}


def small_config(kind: str, *more: str) -> CfgNode:
    """The config of one of `KINDS`, on the CPU, with further options."""
    file, options = KINDS[kind]
    return load_config(str(CONFIGS / file), ["MODEL.DEVICE", "cpu", *options, *more])
