"""Time a config's model against other models, in interleaved rounds on the same input.

    python projects/SegViT/benchmarks/benchmark.py --model A --against linear mix --input-size H W --rounds 20

Models that --against names:
    linear               A's encoder with a linear classifier and bilinear upsampling: the floor, listed first
    segmenter            A's encoder with Segmenter's mask transformer
    no-detail            A without its detail branch (MODEL.SEGVIT.DETAIL), listed first
    diagonal, mix        A with that MODEL.SEGVIT.OUTPUT
    eomt, upernet-beit, dpt, segformer-b4, maskformer, mask2former
                         models of base size from `transformers` (pip install -e '.[bench]'), with random weights
    linear-bands         with --labels: linear, with a faster argmax in bands of rows
    a config, a model folder
                         another model of this project

Weights are random unless MODEL.WEIGHTS is set. Shrunk++ keeps the fraction MODEL.VIT.EDGE.SHARE of the tokens, since a
random edge head finds no edges.

Columns: `median_ms` and `spread` (interquartile range over median) of the rounds; `ratio` to the first model; `gmacs`,
10^9 multiply-accumulates per call, and their rate, to be compared with the machine's rate for matrix products, which is
printed above the table; `peak_mb`, on a GPU the weights and what a call allocates, on a CPU (with --memory) the memory
of a process that builds and calls the model.

With --labels the models return labels in place of scores: `diagonal` scores candidate classes only, the others all.

With --train a training step is timed (forward, losses, backward, optimizer) for config files and `linear`, which learns
by pixel cross-entropy; ten classes are present. `peak_mb` includes weights and optimizer states; `gmacs` are those of
inference.
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

from baselines import OUTPUTS, VARIANTS, InferenceCall, OutputKind, build_models, build_segvit, input_images, override
from measurements import cuda_inference_memory_mb, matrix_peak_gmacs, peak_memory_mb
from peers import PEERS
from segvit.analysis import TimingSummary, count_module_macs, summarize, time_rounds, weightless_copy
from segvit.analysis.timing import clock_of, machine_name
from segvit.cli_errors import positive, user_errors
from segvit.command_line.model_arguments import add_any_model, config_of, find_model_or_config, model_name
from segvit.command_line.parser import CommandParser
from segvit.config.device import require_device
from segvit.d2 import load_config
from segvit.errors import UserError
from segvit.output_files import require_folder
from segvit.visualization.figures import draw_timings, require_figure_name
from training_step import TrainingStep, with_linear_head

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class Row(TypedDict):
    """One model's line in the report."""

    name: str
    median_ms: float
    spread: float | None
    ratio: float
    peak_mb: float | None
    gmacs: float


def build_parser() -> CommandParser:
    """The arguments of the command."""
    parser = CommandParser(description=__doc__, former={"--picture": "--image", "--plot": "--output"})
    add_any_model(parser)
    parser.add_argument(
        "--against",
        nargs="+",
        default=["linear", *OUTPUTS],
        metavar="MODEL",
        help="what to time (default: linear diagonal mix)",
    )
    parser.add_argument(
        "--input-size", nargs=2, type=positive, metavar=("H", "W"), help="size of the images (default: A's IMG_SIZE)"
    )
    parser.add_argument("--batch", type=positive, default=1, metavar="N", help="images per call (default: 1)")
    parser.add_argument("--device", default="cpu", metavar="DEVICE", help="the device, such as cuda (default: cpu)")
    parser.add_argument(
        "--dtype", choices=list(DTYPES), default="fp32", help="type of weights and images (default: fp32)"
    )
    parser.add_argument("--threads", type=positive, metavar="N", help="CPU threads (default: PyTorch's choice)")
    parser.add_argument(
        "--rounds", type=positive, default=20, metavar="N", help="timed calls of each model (default: 20)"
    )
    parser.add_argument("--cpu-time", action="store_true", help="count CPU time (default: the wall clock)")
    parser.add_argument("--train", action="store_true", help="time training steps (default: inference)")
    parser.add_argument("--labels", action="store_true", help="return labels (default: scores)")
    parser.add_argument(
        "--labels-size", nargs=2, type=positive, metavar=("H", "W"), help="size of the labels (default: the input's)"
    )
    parser.add_argument(
        "--present",
        type=int,
        default=0,
        metavar="N",
        help="replace the head's output by a synthetic scene of N classes (default: 0, the head's own output)",
    )
    parser.add_argument("--image", metavar="FILE", help="the image to segment (default: noise)")
    parser.add_argument("--compile", action="store_true", help="compile each model as one graph (default: no)")
    parser.add_argument(
        "--memory", action="store_true", help="measure peak_mb on a CPU, each model in a new process (default: no)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object (default: a table)")
    parser.add_argument(
        "--output", type=Path, metavar="PNG", help="draw the ratios into this file (default: no drawing)"
    )
    parser.add_overrides("overrides of all configs", device="--device names it")
    return parser


@user_errors()
def main(argv: Sequence[str] | None = None) -> None:
    args = build_parser().parse_args(argv)
    require_read_options(args)
    if args.threads:
        torch.set_num_threads(args.threads)
    if args.output:
        require_figure_name(args.output)
        require_folder(args.output.parent, origin="--output")
    device = require_device(args.device, origin="--device")
    files = [path for path in args.against if path not in (*VARIANTS, *PEERS)]
    cfg = config_of(args, shared=bool(files))
    others = {Path(path).stem: load_config(find_model_or_config(path), args.opts, shared=True) for path in files}
    rows = train_rows(args, cfg, others, device) if args.train else inference_rows(args, cfg, others, device)
    report(args, device, rows)


def require_read_options(args: argparse.Namespace) -> None:
    """Raise UserError for an option that nothing would read."""
    if args.labels_size and not args.labels:
        raise UserError("--labels-size needs --labels: scores have the size of the input")
    if args.cpu_time and args.device != "cpu":
        raise UserError(f"--cpu-time counts no time of --device {args.device}")
    for option in ("labels", "present", "image", "compile") if args.train else ():
        if getattr(args, option):
            raise UserError(f"--{option} is for inference: leave it out with --train")


def report(args: argparse.Namespace, device: torch.device, rows: list[Row]) -> None:
    """Draw the rows, and print them as a table or as one JSON object."""
    machine = machine_name(device)
    threads = torch.get_num_threads()
    task = "training step" if args.train else "inference"
    setting = f"{machine}, {threads} threads, {args.dtype}, {task}, batch {args.batch}"
    if args.output:
        draw_timings({row["name"]: row["ratio"] for row in rows}, setting, args.output, highlighted=OUTPUTS)
    if args.json:
        print(json.dumps({"machine": machine, "threads": threads, "models": rows}))
        return
    print(f"{setting}; matrix products reach {matrix_peak_gmacs(device, DTYPES[args.dtype]):.0f} GMAC/s")
    table = [dict(row) for row in rows]
    if not args.train:
        table = [{**row, "GMAC/s": 1000 * row["gmacs"] / row["median_ms"]} for row in rows]
    print(tabulate(table, "keys", "simple", floatfmt=".3f"))


def inference_rows(
    args: argparse.Namespace, cfg: CfgNode, others: Mapping[str, CfgNode], device: torch.device
) -> list[Row]:
    """Build the models, and time and measure their calls."""
    height, width = args.input_size or cfg.MODEL.VIT.IMG_SIZE
    label_size = tuple(args.labels_size) if args.labels_size else None
    kind = OutputKind(labels=args.labels, label_size=label_size, num_present=args.present)
    dtype = DTYPES[args.dtype]
    images = input_images(cfg, (height, width), batch=args.batch, image_file=args.image)
    models = build_models(cfg, args.against, (height, width), kind)
    models |= {name: build_segvit(other, kind) for name, other in others.items()}
    peaks: dict[str, float] = {}
    if args.memory and device.type == "cpu":
        for name in models:
            source, model_name = (others[name], others[name].MODEL.SEGVIT.OUTPUT) if name in others else (cfg, name)
            build = partial(InferenceCall, source, model_name, images, kind, dtype)
            peaks[name] = peak_memory_mb(build, device=device, calls=1)
    images = images.to(device, dtype)
    calls: dict[str, Callable[[], Tensor]] = {}
    for name, model in models.items():
        model.to(device, dtype)
        calls[name] = partial(torch.compile(model, fullgraph=True) if args.compile else model, images)
    clock = clock_of(cpu_time=args.cpu_time)
    with torch.inference_mode():
        timings = summarize(time_rounds(calls, rounds=args.rounds, device=device, progress=True, clock=clock))
        if device.type == "cuda":
            peaks = {name: cuda_inference_memory_mb(model, images) for name, model in models.items()}
    gmacs = {name: count_macs(model, images) / 1e9 for name, model in models.items()}
    return [make_row(name, timings[name], peaks.get(name), gmacs[name]) for name in models]


def make_row(name: str, timing: TimingSummary, peak_mb: float | None, gmacs: float) -> Row:
    return {
        "name": name,
        "median_ms": timing["median_ms"],
        "spread": timing["spread"],
        "ratio": timing["ratio"],
        "peak_mb": peak_mb,
        "gmacs": gmacs,
    }


def count_macs(model: nn.Module, images: Tensor) -> int:
    """Multiply-accumulates of a call; counted on the "meta" device unless the model's shapes depend on values."""
    try:
        return count_module_macs(weightless_copy(model), images.to("meta"))
    except (RuntimeError, NotImplementedError):
        return count_module_macs(model.requires_grad_(False), images)


def train_rows(
    args: argparse.Namespace, cfg: CfgNode, others: Mapping[str, CfgNode], device: torch.device
) -> list[Row]:
    """Build the training steps, and time and measure them."""
    if ({*VARIANTS, *PEERS} - {"linear"}) & set(args.against) or args.dtype != "fp32":
        raise UserError(
            "--train compares linear and config files, in fp32: name some with --against, and leave out --dtype"
        )
    height, width = args.input_size or cfg.MODEL.VIT.IMG_SIZE
    configs = {"linear": with_linear_head(cfg)} if "linear" in args.against else {}
    configs |= {Path(model_name(args)).stem: cfg, **others}
    builders = {
        name: partial(
            TrainingStep, override(cfg, "MODEL.DEVICE", str(device)), batch_size=args.batch, image_size=(height, width)
        )
        for name, cfg in configs.items()
    }
    peaks = {name: peak_memory_mb(build, device=device) for name, build in builders.items()}
    steps = {name: build() for name, build in builders.items()}
    clock = clock_of(cpu_time=args.cpu_time)
    timings = summarize(time_rounds(steps, rounds=args.rounds, device=device, progress=True, clock=clock))
    images = torch.empty(args.batch, 3, height, width, device="meta")
    gmacs = {name: count_module_macs(weightless_copy(build_segvit(cfg)), images) / 1e9 for name, cfg in configs.items()}
    return [make_row(name, timings[name], peaks[name], gmacs[name]) for name in configs]


if __name__ == "__main__":
    main()
