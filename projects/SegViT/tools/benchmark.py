"""Time a config's model against others in interleaved rounds: same input, same K x H x W scores out.

    python projects/SegViT/tools/benchmark.py --config-file A --against linear mix --input-size H W --rounds 20

`linear` is the same encoder with a per-pixel linear head and bilinear upsampling, the floor; it is listed first, and
the ratios are to the first. `diagonal` and `mix` are model A with that MODEL.SEGVIT.OUTPUT. Anything else is another
config file. Weights are random, and Shrunk++ keeps the share MODEL.VIT.EDGE.SHARE of the tokens. `peak_mb` (CUDA only)
is the model's weights and what one call allocates besides.

With `--train` a training step is timed (forward, losses, backward, optimiser), of config files and of `linear`, which
learns by the cross-entropy of pixels; ten classes are present. `peak_mb` is the most memory that such a step takes,
weights and optimiser states included; `gmacs` stays that of inference.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TypedDict

import torch
from detectron2.config import CfgNode
from tabulate import tabulate
from torch import Tensor, nn

from segvit.analysis import (
    BilinearUpsampling,
    DensePredictor,
    count_module_macs,
    summarize,
    time_rounds,
    weightless_copy,
)
from segvit.analysis.from_config import build_random_model
from segvit.analysis.machine import machine_name
from segvit.analysis.peak_memory import peak_memory_mb
from segvit.analysis.training_step import TrainingStep, with_linear_head
from segvit.command import positive, user_errors
from segvit.d2 import load_config
from segvit.d2.device import require_device
from segvit.modeling.linear_head import LinearHead
from segvit.modeling.semantic_inference import SemanticInference

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
VARIANTS = ("linear", "diagonal", "mix")


class Row(TypedDict):
    """One model's line in the report."""

    name: str
    median_ms: float
    spread: float
    ratio: float
    peak_mb: float | None
    gmacs: float


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config-file", required=True, help="a YAML config")
    parser.add_argument("--against", nargs="+", default=list(VARIANTS), help="linear, diagonal, mix or config files")
    parser.add_argument("--input-size", nargs=2, type=positive, metavar=("H", "W"), help="default: MODEL.VIT.IMG_SIZE")
    parser.add_argument("--batch", type=positive, default=1, help="images per call")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", choices=list(DTYPES), default="fp32", help="of weights and input")
    parser.add_argument("--threads", type=positive, help="CPU threads; default: PyTorch's own choice")
    parser.add_argument("--rounds", type=positive, default=20)
    parser.add_argument("--train", action="store_true", help="time training steps, of config files and linear")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("opts", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="config overrides for all configs")
    return parser.parse_args(argv)


@user_errors()
def main(argv: Sequence[str] | None = None) -> None:
    """Build, time and print."""
    args = parse_args(argv)
    if args.threads:
        torch.set_num_threads(args.threads)
    cfg = load_config(args.config_file, args.opts)
    others = {Path(path).stem: load_config(path, args.opts) for path in args.against if path not in VARIANTS}
    height, width = args.input_size or cfg.MODEL.VIT.IMG_SIZE
    device, dtype = require_device(args.device, origin="--device"), DTYPES[args.dtype]
    if args.train:
        if {"diagonal", "mix"} & set(args.against) or args.dtype != "fp32":
            raise ValueError(
                "--train compares linear and config files, in fp32: name some with --against, and leave out --dtype"
            )
        floor = {"linear": with_linear_head(cfg)} if "linear" in args.against else {}
        configs = {**floor, Path(args.config_file).stem: cfg, **others}
        report(
            args,
            device,
            compare_training(configs, (height, width), batch=args.batch, rounds=args.rounds, device=device),
        )
        return
    predictors = {**build_variants(cfg, args.against), **{name: build_whole(other) for name, other in others.items()}}
    images = torch.randn(args.batch, 3, height, width, generator=torch.Generator().manual_seed(0))
    for predictor in predictors.values():
        predictor.to(device, dtype)
    report(args, device, compare(predictors, images.to(device, dtype), rounds=args.rounds))


def report(args: argparse.Namespace, device: torch.device, rows: list[Row]) -> None:
    """Print the rows as a table or as one JSON object."""
    machine = machine_name(device)
    if args.json:
        print(json.dumps({"machine": machine, "threads": torch.get_num_threads(), "models": rows}))
    else:
        what = "training step" if args.train else "inference"
        print(f"{machine}, {torch.get_num_threads()} threads, {args.dtype}, {what}, batch {args.batch}")
        print(tabulate([row.values() for row in rows], list(Row.__annotations__), "simple", floatfmt=".3f"))


def build_whole(cfg: CfgNode) -> DensePredictor:
    """The config's model."""
    model = build_random_model(cfg)
    return DensePredictor(
        backbone=model.backbone, sem_seg_head=model.sem_seg_head, inference=model.semantic_inference
    ).eval()


def build_variants(cfg: CfgNode, names: Sequence[str]) -> dict[str, DensePredictor]:
    """The config's model, named by its output, and the wanted variants of it, the floor first; one shared encoder."""
    whole = build_whole(cfg)
    floor = {"linear": build_floor(cfg, whole.backbone)} if "linear" in names else {}
    own = cfg.MODEL.SEGVIT.OUTPUT
    outputs = [name for name in ("diagonal", "mix") if name in names and name != own]
    others = {
        name: DensePredictor(
            backbone=whole.backbone, sem_seg_head=whole.sem_seg_head, inference=SemanticInference(name)
        ).eval()
        for name in outputs
    }
    return {**floor, own: whole, **others}


def build_floor(cfg: CfgNode, backbone: nn.Module) -> DensePredictor:
    """The encoder with a linear head on its deepest stage."""
    stage = cfg.MODEL.SEM_SEG_HEAD.IN_FEATURES[0]
    head = LinearHead(
        in_feature=stage,
        embed_dim=backbone.output_shape()[stage].channels,
        num_classes=cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES,
    )
    return DensePredictor(backbone=backbone, sem_seg_head=head, inference=BilinearUpsampling()).eval()


def compare(predictors: Mapping[str, nn.Module], images: Tensor, *, rounds: int) -> list[Row]:
    """Time the models on the images (B, 3, H, W), and count their MACs for all of these."""

    def call(predictor: nn.Module) -> Callable[[], Tensor]:
        return lambda: predictor(images)

    calls = {name: call(predictor) for name, predictor in predictors.items()}
    with torch.inference_mode():
        timings = summarize(time_rounds(calls, rounds=rounds, device=images.device, progress=True))
        peaks = {name: peak_mb(predictor, images) for name, predictor in predictors.items()}
    meta = images.to("meta")
    gmacs = {name: count_module_macs(weightless_copy(module), meta) / 1e9 for name, module in predictors.items()}
    return [Row(name=name, **timings[name], peak_mb=peaks[name], gmacs=gmacs[name]) for name in predictors]


def compare_training(
    configs: Mapping[str, CfgNode], size: tuple[int, int], *, batch: int, rounds: int, device: torch.device
) -> list[Row]:
    """Time and measure training steps on images of `size` (H, W)."""
    builders = {
        name: partial(TrainingStep, on(cfg, device), batch_size=batch, size=size) for name, cfg in configs.items()
    }
    peaks = {name: peak_memory_mb(build, device=device) for name, build in builders.items()}
    steps = {name: build() for name, build in builders.items()}
    timings = summarize(time_rounds(steps, rounds=rounds, device=device, progress=True))
    images = torch.empty(batch, 3, *size, device="meta")
    gmacs = {name: count_module_macs(weightless_copy(build_whole(cfg)), images) / 1e9 for name, cfg in configs.items()}
    return [Row(name=name, **timings[name], peak_mb=peaks[name], gmacs=gmacs[name]) for name in configs]


def on(cfg: CfgNode, device: torch.device) -> CfgNode:
    """The config with its model on a device."""
    cfg = cfg.clone()
    cfg.merge_from_list(["MODEL.DEVICE", str(device)])
    return cfg


def peak_mb(predictor: nn.Module, images: Tensor) -> float | None:
    """Megabytes (2**20 bytes) of the weights and of what one call allocates besides; None where it is not CUDA."""
    if images.device.type != "cuda":
        return None
    torch.cuda.reset_peak_memory_stats(images.device)
    before = torch.cuda.memory_allocated(images.device)
    predictor(images)
    torch.cuda.synchronize(images.device)
    weights = sum(parameter.numel() * parameter.element_size() for parameter in predictor.parameters())
    return (torch.cuda.max_memory_allocated(images.device) - before + weights) / 2**20


if __name__ == "__main__":
    main()
