"""Every kind of model on the GPU against the CPU in float32, and one mixed-precision step and inference of each.

Shape shorthand: B images, H x W pixels, K classes.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from functools import partial
from typing import cast

import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model

from gpu.checks import Check, Values
from gpu.kinds import KINDS, NUM_CLASSES, small_config
from gpu.measuring import exact_float32
from segvit.assembly.meta_arch import SegViT
from segvit.assembly.model_types import ModelInput
from segvit.config.continual_step import continual_step
from segvit.d2.solver import build_optimizer
from segvit.modeling.postprocessing.sliding_window import SlidingWindow
from training_step import random_input

# Relative error of a loss, and of all gradients as one vector.
LOSS_TOLERANCE = 1e-4
GRADIENT_TOLERANCE = 2e-3
# Largest difference of a score, and the share of pixels with the same label.
SCORE_TOLERANCE = 1e-3
LABEL_AGREEMENT = 0.999
# A label that is neither a class nor ignored.
BACKGROUND = NUM_CLASSES


def agreement_checks() -> list[Check]:
    """One check for each kind of model."""
    return [Check(kind, partial(check_kind, kind)) for kind in KINDS]


def check_kind(kind: str, device: str = "cuda") -> Values:
    """Losses, gradients, scores and labels against the CPU's, then one bfloat16 and one float16 step."""
    torch.manual_seed(0)
    cfg = small_config(kind)
    on_cpu = cast(SegViT, build_model(cfg))
    on_gpu = copy.deepcopy(on_cpu).to(device)
    size = tuple(cfg.MODEL.VIT.IMG_SIZE)
    step = continual_step(cfg)
    classes = step.new_classes if step else range(NUM_CLASSES)
    batch = [training_image(size, classes, seed=0), training_image((size[0] - 20, size[1] - 9), classes, seed=1)]
    with exact_float32():
        values = compare_training(on_cpu, on_gpu, batch)
        values |= compare_inference(on_cpu, on_gpu, batch)
    for name, dtype in (("bfloat16", torch.bfloat16), ("float16", torch.float16)):
        values |= mixed_precision_step(cfg, copy.deepcopy(on_gpu), batch, name, dtype)
    ok = (
        values["loss_error"] <= LOSS_TOLERANCE
        and values["gradient_error"] <= GRADIENT_TOLERANCE
        and values["score_error"] <= SCORE_TOLERANCE
        and values["window_score_error"] <= SCORE_TOLERANCE
        and min(values["labels_equal"], values["pruned_labels_equal"]) >= LABEL_AGREEMENT
        and values["bfloat16_finite"]
        and values["float16_finite"]
    )
    return {"ok": bool(ok), **values}


def training_image(size: tuple[int, int], classes: Iterable[int], *, seed: int) -> ModelInput:
    """An image of noise, its classes in squares; others than `classes` are background, and some columns are ignored."""
    image = random_input(size, NUM_CLASSES, seed)
    labels = image["sem_seg"]
    background = ~torch.isin(labels, torch.tensor(list(classes)))
    image["sem_seg"] = labels.masked_fill(background, BACKGROUND)
    image["sem_seg"][:, :5] = 255
    image["sem_seg_ids"] = image["sem_seg"].long().unique()
    return image


def compare_training(on_cpu: SegViT, on_gpu: SegViT, batch: list[ModelInput]) -> Values:
    """Losses and gradients of one batch."""
    losses = [model.train()(batch) for model in (on_cpu, on_gpu)]
    errors = {name: relative_error(losses[1][name], expected) for name, expected in losses[0].items()}
    gradients = []
    for model, values in zip((on_cpu, on_gpu), losses):
        model.zero_grad()
        sum(values.values()).backward()
        gradients.append([p.grad.flatten().cpu() for p in model.parameters() if p.grad is not None])
    expected, found = (torch.cat(parts) for parts in gradients)
    return {"loss_error": max(errors.values()), "gradient_error": relative_error(found, expected)}


@torch.no_grad()
def compare_inference(on_cpu: SegViT, on_gpu: SegViT, batch: list[ModelInput]) -> Values:
    """Scores, labels and pruned labels of whole images, and scores by windows."""
    images = [{"image": image["image"]} for image in batch]
    scores, labels, pruned, windows = [], [], [], []
    for model in (on_cpu.eval(), on_gpu.eval()):
        model.windows, model.labels_only = None, False
        results = [result["sem_seg"].cpu() for result in model(images)]
        scores.append(torch.cat([result.flatten(1) for result in results], dim=1))
        labels.append(torch.cat([result.argmax(dim=0).flatten() for result in results]))
        model.labels_only = True
        pruned.append(torch.cat([result["sem_seg_labels"].cpu().flatten() for result in model(images)]))
        model.labels_only = False
        size = model.backbone.img_size
        model.windows = SlidingWindow(size=size, stride=(85, 85), batch_size=4, accumulate_on_cpu=False)
        larger = {"image": batch[0]["image"].repeat(1, 1, 2)[:, :, :-30]}
        windows.append(model([larger])[0]["sem_seg"].cpu())
        model.windows = None
    return {
        "score_error": (scores[1] - scores[0]).abs().max().item(),
        "window_score_error": (windows[1] - windows[0]).abs().max().item(),
        "labels_equal": (labels[1] == labels[0]).float().mean().item(),
        "pruned_labels_equal": (pruned[1] == labels[0]).float().mean().item(),
    }


def mixed_precision_step(cfg: CfgNode, model: SegViT, batch: list[ModelInput], name: str, dtype: torch.dtype) -> Values:
    """One optimizer step under autocast, then inference under autocast: scores and weights must be finite."""
    optimizer = build_optimizer(cfg, model.train())
    scaler = torch.amp.GradScaler(model.device.type, init_scale=128.0, enabled=dtype == torch.float16)
    with torch.autocast(model.device.type, dtype=dtype):
        loss = sum(model(batch).values())
    scaler.scale(loss).backward()
    scaler.unscale_(optimizer)
    scaler.step(optimizer)
    scaler.update()
    with torch.no_grad(), torch.autocast(model.device.type, dtype=dtype):
        scores = model.eval()([{"image": image["image"]} for image in batch])[0]["sem_seg"]
    finite = scores.isfinite().all() and all(parameter.isfinite().all() for parameter in model.parameters())
    return {f"{name}_loss": round(loss.item(), 4), f"{name}_finite": bool(finite and loss.isfinite())}


def relative_error(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Norm of the difference over the norm of what was expected."""
    found, expected = found.detach().cpu().double(), expected.detach().cpu().double()
    return ((found - expected).norm() / expected.norm().clamp(min=1e-12)).item()
