"""Time a config's model against others in interleaved rounds: same input, same K x H x W scores out.

    python projects/SegViT/benchmarks/benchmark.py --config-file A --against linear mix --input-size H W --rounds 20

`linear` is the same encoder with a per-pixel linear head and bilinear upsampling, the floor; it is listed first, and
the ratios are to the first. `segmenter` is the same encoder with Segmenter's mask transformer. `diagonal` and `mix` are
model A with that MODEL.SEGVIT.OUTPUT. Peers of `transformers` (`pip install -e '.[bench]'`), of base size, with random
weights: eomt, upernet-beit, dpt, segformer-b4, maskformer, mask2former. Anything else is another config file. Weights
are random unless MODEL.WEIGHTS names some, and Shrunk++ keeps the share MODEL.VIT.EDGE.SHARE of the tokens.

`gmacs` are 10^9 multiply-accumulates of a call; the table adds how many of them are done per second, which its heading
compares with matrix products of the same type. `peak_mb` is, on a GPU, the model's weights and what one call allocates
besides; on a CPU with `--memory`, what a process that builds and calls the model takes.

With `--labels` the models end in labels and not in scores: `diagonal` scores only classes that can win, all others
score all. `linear` then ends in `argmax`; `linear-bands` finds the same labels faster, as `mix` does.

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

from baselines import (
    OUTPUTS,
    VARIANTS,
    Ending,
    InferenceCall,
    build_contenders,
    build_whole,
    input_images,
)
from matrix_peak import matrix_peak_gmacs
from peak_memory import peak_memory_mb
from peers import PEERS
from segvit.analysis import count_module_macs, summarize, time_rounds, weightless_copy
from segvit.analysis.machine import machine_name
from segvit.cli_errors import positive, user_errors
from segvit.config.device import require_device
from segvit.d2 import load_config
from segvit.errors import UserError
from segvit.output_files import require_folder
from segvit.visualization.figure_file import require_figure_name
from segvit.visualization.timing_bars import draw_timings
from training_step import TrainingStep, with_linear_head

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


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
    parser.add_argument("--against", nargs="+", default=["linear", *OUTPUTS], help="names above or config files")
    parser.add_argument("--input-size", nargs=2, type=positive, metavar=("H", "W"), help="default: MODEL.VIT.IMG_SIZE")
    parser.add_argument("--batch", type=positive, default=1, help="images per call")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", choices=list(DTYPES), default="fp32", help="of weights and input")
    parser.add_argument("--threads", type=positive, help="CPU threads; default: PyTorch's own choice")
    parser.add_argument("--rounds", type=positive, default=20)
    parser.add_argument("--train", action="store_true", help="time training steps, of config files and linear")
    parser.add_argument("--labels", action="store_true", help="labels out, and not scores")
    parser.add_argument("--labels-size", nargs=2, type=positive, metavar=("H", "W"), help="default: the input's")
    parser.add_argument("--present", type=int, default=0, help="set the decoder's output to a scene of so many classes")
    parser.add_argument("--picture", help="a file to segment; default: noise")
    parser.add_argument("--compile", action="store_true", help="compile every model as one graph")
    parser.add_argument("--memory", action="store_true", help="measure peak_mb on a CPU, each model in a new process")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--plot", help="draw the ratios into this PNG")
    parser.add_argument("opts", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="config overrides for all configs")
    return parser.parse_args(argv)


@user_errors()
def main(argv: Sequence[str] | None = None) -> None:
    """Build, time and print."""
    args = parse_args(argv)
    if args.threads:
        torch.set_num_threads(args.threads)
    if args.plot:
        require_figure_name(args.plot)
        require_folder(Path(args.plot).parent, origin="--plot")
    cfg = load_config(args.config_file, args.opts)
    others = {Path(path).stem: load_config(path, args.opts) for path in args.against if path not in (*VARIANTS, *PEERS)}
    height, width = args.input_size or cfg.MODEL.VIT.IMG_SIZE
    device, dtype = require_device(args.device, origin="--device"), DTYPES[args.dtype]
    if args.train:
        if {*VARIANTS[1:], *PEERS} & set(args.against) or args.dtype != "fp32":
            raise UserError(
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
    report(args, device, compare_inference(args, cfg, others, (height, width), device=device, dtype=dtype))


def report(args: argparse.Namespace, device: torch.device, rows: list[Row]) -> None:
    """Print the rows as a table or as one JSON object, and draw them."""
    machine, threads = machine_name(device), torch.get_num_threads()
    what = "training step" if args.train else "inference"
    setting = f"{machine}, {threads} threads, {args.dtype}, {what}, batch {args.batch}"
    if args.plot:
        draw_timings({row["name"]: row["ratio"] for row in rows}, setting, args.plot, highlighted=OUTPUTS)
    if args.json:
        print(json.dumps({"machine": machine, "threads": threads, "models": rows}))
        return
    print(f"{setting}; matrix products reach {matrix_peak_gmacs(device, DTYPES[args.dtype]):.0f} GMAC/s")
    header = [*Row.__annotations__, *([] if args.train else ["GMAC/s"])]
    table = [[*row.values(), *([] if args.train else [1000 * row["gmacs"] / row["median_ms"]])] for row in rows]
    print(tabulate(table, header, "simple", floatfmt=".3f"))


def compare_inference(
    args: argparse.Namespace,
    cfg: CfgNode,
    others: Mapping[str, CfgNode],
    size: tuple[int, int],
    *,
    device: torch.device,
    dtype: torch.dtype,
) -> list[Row]:
    """Build, time and measure all models on images of `size` (H, W)."""
    ending = Ending(
        labels=args.labels, size=tuple(args.labels_size) if args.labels_size else None, num_present=args.present
    )
    images = input_images(cfg, size, batch=args.batch, picture=args.picture)
    peaks: dict[str, float] = {}
    if args.memory and device.type == "cpu":
        names = build_contenders(cfg, args.against, size, ending)
        builders = {name: partial(InferenceCall, cfg, name, images, ending, dtype) for name in names}
        for name, other in others.items():
            builders[name] = partial(InferenceCall, other, other.MODEL.SEGVIT.OUTPUT, images, ending, dtype)
        peaks = {name: peak_memory_mb(build, device=device, calls=1) for name, build in builders.items()}
    predictors = build_contenders(cfg, args.against, size, ending)
    predictors |= {name: build_whole(other, ending) for name, other in others.items()}
    for predictor in predictors.values():
        predictor.to(device, dtype)
    return compare(predictors, images.to(device, dtype), rounds=args.rounds, peaks=peaks, compiled=args.compile)


def compare(
    predictors: Mapping[str, nn.Module],
    images: Tensor,
    *,
    rounds: int,
    peaks: Mapping[str, float],
    compiled: bool,
) -> list[Row]:
    """Time the models on the images (B, 3, H, W), and count their MACs for all of these.

    Args:
        peaks: memory by name as far as it is known; on a GPU it is measured here.
        compiled: time the models as single graphs.
    """

    def call(predictor: nn.Module) -> Callable[[], Tensor]:
        run = torch.compile(predictor, fullgraph=True) if compiled else predictor
        return lambda: run(images)

    calls = {name: call(predictor) for name, predictor in predictors.items()}
    with torch.inference_mode():
        timings = summarize(time_rounds(calls, rounds=rounds, device=images.device, progress=True))
        if images.device.type == "cuda":
            peaks = {name: peak_mb(predictor, images) for name, predictor in predictors.items()}
    gmacs = {name: count_macs_of(module, images) / 1e9 for name, module in predictors.items()}
    return [Row(name=name, **timings[name], peak_mb=peaks.get(name), gmacs=gmacs[name]) for name in predictors]


def count_macs_of(module: nn.Module, images: Tensor) -> int:
    """MACs of a call: without computing anything, or, where shapes or branches depend on values, in a real call."""
    try:
        return count_module_macs(weightless_copy(module), images.to("meta"))
    except (RuntimeError, NotImplementedError):
        return count_module_macs(module.requires_grad_(False), images)


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


def peak_mb(predictor: nn.Module, images: Tensor) -> float:
    """Megabytes (2**20 bytes) on a GPU of the weights and of what one call allocates besides."""
    torch.cuda.reset_peak_memory_stats(images.device)
    before = torch.cuda.memory_allocated(images.device)
    predictor(images)
    torch.cuda.synchronize(images.device)
    weights = sum(parameter.numel() * parameter.element_size() for parameter in predictor.parameters())
    return (torch.cuda.max_memory_allocated(images.device) - before + weights) / 2**20


if __name__ == "__main__":
    main()
