"""Images per second of whole models, against a linear head on the same encoder and EoMT of `transformers`.

Shape shorthand: B images, K classes, H x W pixels.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import nn

from baselines import SCORES, OutputKind, build_linear
from gpu.checks import Check, Values
from gpu.measuring import FORMATS, median_ms, number_format
from gpu.training_speed import build_full_model, full_config
from peers import PEERS, build_peer
from segvit.modeling.postprocessing.semantic_inference import SemanticInference

# Name: encoder by its name in `training_speed.MODELS`; MODEL.SEGVIT.OUTPUT, "linear" for that head, or a peer.
MODELS: dict[str, tuple[str, str]] = {
    "ViT-B 512, linear head": ("ViT-B 512", "linear"),
    "ViT-B 512, diagonal": ("ViT-B 512", "diagonal"),
    "ViT-B 512, detail": ("ViT-B 512, detail", "diagonal"),
    "ViT-B 512, mix": ("ViT-B 512", "mix"),
    "ViT-B 512, Shrunk++ topk": ("ViT-B 512, Shrunk++ topk", "diagonal"),
    "ViT-B 512, cells topk": ("ViT-B 512, cells topk", "diagonal"),
    "EoMT, ViT-B 512": ("ViT-B 512", "eomt"),
    "ViT-L 640, linear head": ("ViT-L 640", "linear"),
    "ViT-L 640, diagonal": ("ViT-L 640", "diagonal"),
    "ViT-L 640, Shrunk": ("ViT-L 640, Shrunk", "diagonal"),
    "ViT-L 640, Shrunk++ topk": ("ViT-L 640, Shrunk++ topk", "diagonal"),
    "ViT-L 640, cells topk": ("ViT-L 640, cells topk", "diagonal"),
}
BATCHES = (1, 16)


def inference_checks(names: Sequence[str] = tuple(MODELS), *, rounds: int = 10) -> list[Check]:
    """A check for each model, in all number formats and both batch sizes; then one of labels."""
    checks = [Check(name, partial(time_inference, name, rounds=rounds)) for name in names]
    return [*checks, Check("ViT-B 512, labels of 20 classes", partial(time_labels, rounds=rounds))]


def time_inference(name: str, *, rounds: int) -> Values:
    """Images per second from normalized images on the GPU to scores (B, K, H, W); bfloat16 is that of the weights."""
    size = tuple(full_config(MODELS[name][0]).MODEL.VIT.IMG_SIZE)
    model = build_predictor(name)
    values: Values = {}
    for number in FORMATS:
        dtype = torch.bfloat16 if number == "bfloat16" else torch.float32
        model.to(dtype)
        for batch in BATCHES:
            images = torch.randn(batch, 3, *size, device="cuda", dtype=dtype)
            with number_format("tf32" if number == "bfloat16" else number):
                values[f"{number}_{batch}"] = round(1000 * batch / _median_ms(model, images, rounds), 1)
    return values


def compiled_inference_checks(names: Sequence[str] = ("ViT-B 512, linear head", "ViT-B 512, diagonal")) -> list[Check]:
    """Checks of whole models that are compiled as one graph, in bfloat16."""
    return [Check(f"inference, {name}", partial(time_compiled_inference, name)) for name in names]


def time_compiled_inference(name: str) -> Values:
    """Images per second at batch 1, with bfloat16 weights, and the seconds of the first call."""
    model = torch.compile(build_predictor(name).to(torch.bfloat16), fullgraph=True)
    size = full_config(MODELS[name][0]).MODEL.VIT.IMG_SIZE
    images = torch.randn(1, 3, *size, device="cuda", dtype=torch.bfloat16)
    start = time.perf_counter()
    with torch.inference_mode():
        model(images)
    torch.cuda.synchronize()
    compiling = time.perf_counter() - start
    return {"bfloat16_1": round(1000 / _median_ms(model, images, 20), 1), "compiling_s": round(compiling, 1)}


def build_predictor(name: str, kind: OutputKind = SCORES) -> nn.Module:
    """One of `MODELS` on the GPU: normalized images (B, 3, H, W) to scores, or what `kind` says."""
    encoder, output = MODELS[name]
    cfg = full_config(encoder)
    with torch.device("cuda"):
        if output in PEERS:
            num_classes = cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES
            return build_peer(output, num_classes=num_classes, image_size=max(cfg.MODEL.VIT.IMG_SIZE))
        model = build_full_model(cfg)
        if output == "linear":
            return kind.per_pixel(model.backbone, build_linear(cfg, model.backbone))
    return kind.segvit(model.backbone, model.sem_seg_head, SemanticInference(output))


def time_labels(*, rounds: int) -> Values:
    """Milliseconds per image from float32 images to labels, as the predictor does, and by the scores of all classes."""
    scores, labels = (
        build_predictor("ViT-B 512, diagonal", OutputKind(kind, num_present=20)) for kind in (False, True)
    )
    images = torch.randn(1, 3, *full_config("ViT-B 512").MODEL.VIT.IMG_SIZE, device="cuda")
    calls: dict[str, Callable[..., torch.Tensor]] = {
        "scores": scores,
        "argmax_of_scores": lambda images: scores(images).argmax(dim=1),
        "labels": labels,
    }
    values: Values = {f"{name}_ms": round(_median_ms(call, images, rounds), 2) for name, call in calls.items()}
    return values


def _median_ms(model: nn.Module | Callable[..., torch.Tensor], images: torch.Tensor, rounds: int) -> float:
    with torch.inference_mode():
        return median_ms(lambda: model(images), rounds=rounds, seconds=1.5)
