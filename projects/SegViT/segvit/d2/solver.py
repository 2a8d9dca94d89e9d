"""Optimizer and learning rate schedule of the papers' recipes (SegViT v1, section 4.1)."""

from __future__ import annotations

import re
from collections import defaultdict
from fnmatch import fnmatchcase
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.solver import LRMultiplier, WarmupParamScheduler
from detectron2.solver import build_lr_scheduler as build_detectron2_lr_scheduler
from detectron2.solver.build import maybe_add_gradient_clipping
from fvcore.common.param_scheduler import ParamScheduler, PolynomialDecayParamScheduler
from torch import nn

from segvit.errors import UserError


def build_optimizer(cfg: CfgNode, model: nn.Module) -> torch.optim.Optimizer:
    """AdamW over `parameter_groups`, with the gradient clipping of SOLVER.CLIP_GRADIENTS."""
    optimizer_class = torch.optim.AdamW
    clip = cfg.SOLVER.CLIP_GRADIENTS
    clips_full_model = clip.ENABLED and clip.CLIP_TYPE == "full_model"
    if not clips_full_model:
        optimizer_class = maybe_add_gradient_clipping(cfg, optimizer_class)
    groups = parameter_groups(
        model,
        base_lr=cfg.SOLVER.BASE_LR,
        decoder_lr_multiplier=cfg.SOLVER.DECODER_LR_MULTIPLIER,
        layer_decay=cfg.SOLVER.LAYER_DECAY,
        weight_decay=cfg.SOLVER.WEIGHT_DECAY,
        no_weight_decay=list(cfg.SOLVER.NO_WEIGHT_DECAY),
        bias_lr_factor=cfg.SOLVER.BIAS_LR_FACTOR,
    )
    # On a GPU one kernel updates many tensors, and leaves out steps that are not finite without asking the host.
    is_fused = all(parameter.is_cuda for group in groups for parameter in group["params"])
    optimizer = optimizer_class(groups, lr=cfg.SOLVER.BASE_LR, fused=is_fused)
    if clips_full_model:
        add_full_model_clipping(optimizer, max_norm=clip.CLIP_VALUE, norm_type=clip.NORM_TYPE)
    return optimizer


def parameter_groups(
    model: nn.Module,
    *,
    base_lr: float,
    decoder_lr_multiplier: float,
    layer_decay: float,
    weight_decay: float,
    no_weight_decay: list[str],
    bias_lr_factor: float = 1.0,
) -> list[dict[str, Any]]:
    """Trainable parameters grouped by learning rate and weight decay, in the order of the model.

    Args:
        model: its encoder's parameters have names that start with "backbone.".
        base_lr: learning rate of the encoder.
        decoder_lr_multiplier: learning rate of all other parameters, in multiples of `base_lr`.
        layer_decay: ratio of the learning rates of an encoder layer and the layer after it; the last block and a final
            norm after it train at `base_lr`.
        weight_decay: of all parameters except those of `no_weight_decay`.
        no_weight_decay: shell patterns of parameter names.
        bias_lr_factor: learning rate of biases, in multiples of what their layer has.

    Raises:
        UserError: if a pattern matches no parameter, since a misspelt pattern would silently change the recipe; or if
            `layer_decay` is not 1 and the encoder is not a plain ViT.
    """
    names = [name for name, _ in model.named_parameters()]
    unmatched = [pattern for pattern in no_weight_decay if not any(fnmatchcase(name, pattern) for name in names)]
    if unmatched:
        raise UserError(f"SOLVER.NO_WEIGHT_DECAY: no parameter matches {unmatched}; names look like {names[0]!r}")
    depth = 1 + max((_block_of(name) for name in names), default=-1)
    if layer_decay != 1.0 and depth == 0:
        raise UserError(f"SOLVER.LAYER_DECAY {layer_decay} needs a plain ViT, a single sequence of blocks")
    groups: dict[tuple[float, float], list[nn.Parameter]] = defaultdict(list)
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        lr = base_lr * (layer_decay ** _layers_above(name, depth) if is_encoder(name) else decoder_lr_multiplier)
        lr *= bias_lr_factor if name.endswith(".bias") else 1.0
        exempt = any(fnmatchcase(name, pattern) for pattern in no_weight_decay)
        groups[lr, 0.0 if exempt else weight_decay].append(parameter)
    return [{"params": params, "lr": lr, "weight_decay": decay} for (lr, decay), params in groups.items()]


def is_encoder(name: str) -> bool:
    """Whether a parameter belongs to the pre-trained encoder; those of a token reduction do not."""
    return name.startswith("backbone.") and not name.startswith("backbone.encoder.reduction.")


def _block_of(name: str) -> int:
    """Index of a parameter's encoder block, -1 for none."""
    match = re.match(r"backbone\.encoder\.(?:blocks|positions\.tables)\.(\d+)", name)
    return int(match.group(1)) if match else -1


def _layers_above(name: str, depth: int) -> int:
    """Number of encoder blocks after a parameter: `depth` for the embedding, 0 for the last block and the norm."""
    return 0 if ".norm." in name and _block_of(name) < 0 else depth - 1 - _block_of(name)


def add_full_model_clipping(optimizer: torch.optim.Optimizer, *, max_norm: float, norm_type: float) -> None:
    """Clip the joint norm of all gradients right before every step.

    Call `scaler.unscale_(optimizer)` before `scaler.step(optimizer)`: a fused optimizer divides the gradients while it
    reads them, by `grad_scale`, which the hook replaces. If `optimizer.gradient_norms` are there, the 2-norms
    (P,) of all gradients, they are not computed again.
    """

    def clip(optimizer: torch.optim.Optimizer, args: tuple, kwargs: dict) -> None:
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        if not optimizer.defaults.get("fused"):
            nn.utils.clip_grad_norm_(parameters, max_norm, norm_type)
            return
        norms = getattr(optimizer, "gradient_norms", None)
        if norms is None or norm_type != 2.0:
            gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
            norms = nn.utils.get_total_norm(gradients, norm_type)
        total = torch.linalg.vector_norm(norms, norm_type)
        # As in `clip_grad_norm_`, but the number is a divisor.
        optimizer.grad_scale = total.add_(1e-6).div_(max_norm).clamp_(min=1)  # type: ignore[attr-defined]

    optimizer.register_step_pre_hook(clip)


class _FloorParamScheduler(ParamScheduler):
    """Scale a schedule that ends at 0 so that it ends at `floor` instead."""

    def __init__(self, scheduler: ParamScheduler, floor: float) -> None:
        self._scheduler = scheduler
        self._floor = floor

    def __call__(self, where: float) -> float:
        return self._floor + (1 - self._floor) * self._scheduler(where)


def build_lr_scheduler(cfg: CfgNode, optimizer: torch.optim.Optimizer) -> torch.optim.lr_scheduler.LRScheduler:
    """Build "WarmupPolyLR", with warm-up and a final learning rate, or any schedule of Detectron2 by its name."""
    solver = cfg.SOLVER
    if solver.LR_SCHEDULER_NAME != "WarmupPolyLR":
        return build_detectron2_lr_scheduler(cfg, optimizer)
    schedule = _FloorParamScheduler(
        PolynomialDecayParamScheduler(base_value=1.0, power=solver.POLY_POWER), solver.BASE_LR_END / solver.BASE_LR
    )
    warmup = min(solver.WARMUP_ITERS / solver.MAX_ITER, 1.0)
    schedule = WarmupParamScheduler(
        schedule, solver.WARMUP_FACTOR, warmup, solver.WARMUP_METHOD, solver.RESCALE_INTERVAL
    )
    return LRMultiplier(optimizer, multiplier=schedule, max_iter=solver.MAX_ITER)
