"""Time and memory of training steps of ViT-B at 512 x 512 and ViT-L at 640 x 640, eager and compiled.

Shape shorthand: B images, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import cast

import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model

from gpu.checks import Check, Values
from gpu.kinds import CELLS, CONFIGS, DIAGONAL, TOPK
from gpu.measuring import FORMATS, median_ms, number_format, peak_gib
from segvit.analysis.from_config import randomize_detail
from segvit.assembly.meta_arch import SegViT
from segvit.d2 import load_config
from segvit.d2.solver import build_optimizer
from training_step import random_input, with_linear_head

LINEAR = "linear head"
DETAIL = ["MODEL.SEGVIT.DETAIL.SOURCE", "image"]
# Name: config file of configs/ade20k, whether its decoder is replaced by a linear head, options.
MODELS: dict[str, tuple[str, str, list[str]]] = {
    "ViT-B 512, linear head": ("segvit_vit_base_512", LINEAR, []),
    "ViT-B 512": ("segvit_vit_base_512", "", DIAGONAL),
    "ViT-B 512, detail": ("segvit_vit_base_512", "", [*DIAGONAL, *DETAIL]),
    "ViT-B 512, Shrunk++ threshold": ("segvitv2_vit_base_512_shrunk_pp", "", []),
    "ViT-B 512, Shrunk++ topk": ("segvitv2_vit_base_512_shrunk_pp", "", TOPK),
    "ViT-B 512, cells topk": ("segvit_vit_base_512", "", [*DIAGONAL, *CELLS, *TOPK]),
    "DINOv3-B 512": ("segvitv2_dinov3_base_512", "", []),
    "ViT-L 640, linear head": ("segvit_vit_large_640", LINEAR, []),
    "ViT-L 640": ("segvit_vit_large_640", "", DIAGONAL),
    "ViT-L 640, Shrunk": ("segvit_vit_large_640_shrunk", "", DIAGONAL),
    "ViT-L 640, Shrunk++ threshold": ("segvitv2_vit_large_640_shrunk_pp", "", []),
    "ViT-L 640, Shrunk++ topk": ("segvitv2_vit_large_640_shrunk_pp", "", TOPK),
    "ViT-L 640, cells topk": ("segvit_vit_large_640", "", [*DIAGONAL, *CELLS, *TOPK]),
    "BEiTv2-L 640": ("segvitv2_beitv2_large_640", "", []),
    "DINOv3-L 640": ("segvitv2_dinov3_large_640", "", []),
}
# Of all tokens, what Shrunk++ keeps: as many as label maps of ADE20K have edges.
KEPT_SHARE = 0.36
BATCH = 2


def training_checks(names: Sequence[str] = tuple(MODELS), *, rounds: int = 10) -> list[Check]:
    """A check for each model, in all number formats."""
    return [Check(name, partial(time_training, name, rounds=rounds)) for name in names]


def compiled_checks(name: str, modes: Sequence[str]) -> list[Check]:
    """Checks of compiled training steps in bfloat16, one for each MODEL.COMPILE_MODE."""
    return [Check(f"{name}, {mode}", partial(time_compiled, name, mode)) for mode in modes]


def time_training(name: str, *, rounds: int) -> Values:
    """Milliseconds and peak GiB of a step in each of `FORMATS`."""
    step = Step(full_config(name))
    values: Values = {}
    for number in FORMATS:
        with number_format(number):
            values[f"{number}_ms"] = round(median_ms(step, rounds=rounds, seconds=2.0), 2)
            values[f"{number}_gib"] = round(peak_gib(step), 2)
    return values


def time_compiled(name: str, mode: str) -> Values:
    """The same in bfloat16 with MODEL.COMPILE, and the seconds of the first step."""
    step = Step(full_config(name, "MODEL.COMPILE", "True", "MODEL.COMPILE_MODE", mode))
    with number_format("bfloat16"):
        values: Values = {"compiling_s": round(median_ms(step, warmup=0, rounds=1, seconds=0) / 1000, 1)}
        values["bfloat16_ms"] = round(median_ms(step), 2)
        values["bfloat16_gib"] = round(peak_gib(step), 2)
    return values


def full_config(name: str, *more: str) -> CfgNode:
    """The config of one of `MODELS` on the GPU, without pre-trained weights, and with further options."""
    file, head, options = MODELS[name]
    common = ["MODEL.DEVICE", "cuda", "MODEL.VIT.PRETRAINED", "", "MODEL.VIT.EDGE.SHARE", str(KEPT_SHARE)]
    cfg = load_config(str(CONFIGS / "ade20k" / f"{file}.yaml"), [*common, *options, *more], shared=True)
    return with_linear_head(cfg) if head == LINEAR else cfg


def build_full_model(cfg: CfgNode) -> SegViT:
    """The config's model on the GPU with random weights, whose edge head lets the usual share of tokens pass."""
    torch.manual_seed(0)
    with torch.device("cuda"):
        model = cast(SegViT, build_model(cfg))
    randomize_detail(model)
    if cfg.MODEL.VIT.REDUCTION == "shrunk++" and cfg.MODEL.VIT.EDGE.SELECTION == "threshold":
        _set_threshold(model)
    return model


@torch.no_grad()
def _set_threshold(model: SegViT) -> None:
    """A quarter of the tokens, the coarse grid, is kept in any case; the threshold lets the rest of the share pass."""
    images = torch.randn(BATCH, 3, *model.backbone.img_size, device="cuda")
    probabilities = model.eval().backbone(images)["edge_logits"].softmax(dim=1)[:, 1]
    above = (KEPT_SHARE - 0.25) / 0.75
    threshold = probabilities.float().flatten().quantile(1 - above).item()
    (selecting,) = [module for module in model.modules() if hasattr(module, "threshold")]
    selecting.threshold = threshold


class Step:
    """Forward, losses, backward and AdamW on images and labels that start on the CPU, as a data loader gives them."""

    def __init__(self, cfg: CfgNode) -> None:
        self.model = build_full_model(cfg).train()
        self.optimizer = build_optimizer(cfg, self.model)
        size = tuple(cfg.MODEL.VIT.IMG_SIZE)
        self.inputs = [random_input(size, 10, seed) for seed in range(BATCH)]

    def __call__(self) -> None:
        self.optimizer.zero_grad()
        loss = sum(self.model(self.inputs).values())
        with torch.autocast("cuda", enabled=False):
            loss.backward()
            self.optimizer.step()
