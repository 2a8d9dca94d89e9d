"""Print the parameters and multiply-accumulates of a model, by part; or the memory that its training takes.

    python projects/SegViT/tools/analyze_model.py --model FOLDER_OR_NAME [--input-size H W] [--json] [KEY VALUE ...]
    python projects/SegViT/tools/analyze_model.py --model FOLDER_OR_NAME --train [--images N] [--json] [KEY VALUE ...]

Attention and class mixing are counted. The model is built without weights, and nothing is computed: it takes seconds.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict

import torch
from detectron2.config import CfgNode
from tabulate import tabulate

from segvit.analysis import MacCounts, ParamCounts, count_macs, count_params
from segvit.analysis.from_config import build_random_model
from segvit.analysis.training_memory import TrainingMemory, estimate_training_memory
from segvit.cli_errors import positive, user_errors
from segvit.command_line.model_arguments import add_any_model, config_of, model_name
from segvit.command_line.parser import CommandParser
from segvit.engine.precision import build_precision
from segvit.errors import UserError


def build_parser() -> CommandParser:
    """The arguments of the command."""
    parser = CommandParser(description=__doc__)
    add_any_model(parser, reads_weights=False)
    parser.add_argument(
        "--input-size",
        nargs=2,
        type=positive,
        metavar=("H", "W"),
        help="size of the image in pixels (default: MODEL.VIT.IMG_SIZE)",
    )
    parser.add_argument(
        "--train",
        action="store_true",
        help="estimate the memory of a training step instead, of one process (default: count)",
    )
    parser.add_argument(
        "--images",
        type=positive,
        metavar="N",
        help="with --train: images in a process at once (default: SOLVER.IMS_PER_BATCH / SOLVER.ACCUM_STEPS)",
    )
    parser.add_argument("--json", action="store_true", help="print the counts as one JSON object (default: a table)")
    parser.add_overrides()
    return parser


@user_errors()
def main(argv: Sequence[str] | None = None) -> None:
    """Count and print the table or the JSON object."""
    args = build_parser().parse_args(argv)
    if args.train and args.input_size:
        raise UserError("--input-size is not for --train: training images have the size MODEL.VIT.IMG_SIZE")
    if args.images and not args.train:
        raise UserError(f"--images {args.images} needs --train: counts are those of one image")
    cfg = config_of(args)
    if args.train:
        _print_training_memory(cfg, args)
        return
    height, width = args.input_size or cfg.MODEL.VIT.IMG_SIZE
    model = build_random_model(cfg, device="meta").network
    params = count_params(model)
    macs = count_macs(model, model.padded_size((height, width)))
    if args.json:
        print(json.dumps({"params": params, "macs": macs, "input": [height, width]}))
    else:
        print(f"{model_name(args)}, one image of {height} x {width}")
        print(table(params, macs))


def training_memory(cfg: CfgNode, images: int | None = None) -> TrainingMemory:
    """The estimate for a config's number format, accumulation and EMA; `images` in a process at once."""
    solver = cfg.SOLVER
    return estimate_training_memory(
        cfg,
        images=images or max(1, solver.IMS_PER_BATCH // solver.ACCUM_STEPS),
        dtype=build_precision(cfg, torch.device(cfg.MODEL.DEVICE).type).dtype,
        parts=solver.ACCUM_STEPS,
        averages=solver.EMA.ENABLED,
    )


def _print_training_memory(cfg: CfgNode, args: argparse.Namespace) -> None:
    """Print the estimate as a table in GiB, or as JSON in bytes."""
    memory = asdict(training_memory(cfg, args.images))
    if args.json:
        print(json.dumps(memory))
    else:
        rows = [(part, size / 2**30) for part, size in memory.items()]
        print(f"{model_name(args)}, a training step of one process, estimated")
        print(tabulate(rows, ("part", "GiB"), "simple", floatfmt=("", ".2f")))


def table(params: ParamCounts, macs: MacCounts) -> str:
    """Both counts by part, with percentages."""
    rows = [(part, *_cells(params, part, 1e6), *_cells(macs, part, 1e9)) for part in macs if part != "total"]
    rows.append(("total", *_cells(params, "total", 1e6), *_cells(macs, "total", 1e9)))
    header = ("part", "params (M)", "%", "MACs (G)", "%")
    return tabulate(rows, header, "simple", floatfmt=("", ".3f", ".1f", ".3f", ".1f"))


def _cells(counts: Mapping[str, int], part: str, unit: float) -> tuple[float, float]:
    count = counts.get(part, 0)
    return count / unit, 100 * count / counts["total"]


if __name__ == "__main__":
    main()
