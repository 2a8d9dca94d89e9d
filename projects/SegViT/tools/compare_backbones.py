"""Compare encoders by the mIoU of the ATM decoder on them, with the same config, iterations and seed.

    python projects/SegViT/tools/compare_backbones.py --model NAME --backbones NAME[:WEIGHTS] ... [--frozen]
        [--output FOLDER] [KEY VALUE ...]

NAME is the timm name of a plain ViT, and WEIGHTS a tag of timm's or a local file; without it the encoder starts from
random weights. The decoder as an indicator of the representation is an idea of SegViTv2 (arXiv 2306.06289).
`MODEL.VIT.EMBED_DIM`, `DEPTH`, `NUM_HEADS` and `PATCH_SIZE` resize all encoders alike. Config values that an encoder
needs changed are listed below the table. FOLDER/<encoder>/ holds each run: a finished run is not repeated, and an
interrupted one continues. FOLDER/comparison.{txt,json,png} hold the result. The exit code is 1 if an encoder failed.
"""

from __future__ import annotations

import segvit  # noqa: F401  (before torch: it sets how CPU threads wait)

# isort: split
import argparse
import json
import logging
import sys
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial

from detectron2.config import CfgNode
from tabulate import tabulate

from segvit.cli_errors import user_errors
from segvit.command_line.model_arguments import add_recipe, model_name, recipe_config_file
from segvit.command_line.parser import CommandParser
from segvit.command_line.series_arguments import add_series_folder
from segvit.engine.hooks.progress_bar import ProgressBar
from segvit.engine.preflight import require_device_and_data
from segvit.engine.run_setup import log_to_file
from segvit.errors import UserError
from segvit.experiments.backbone_comparison import BackboneChoice, BackboneResult, evaluate_backbone
from segvit.experiments.cached_run import config_to_compare, merge
from segvit.experiments.run_series import run_series, write_report
from segvit.output_files import require_folder
from segvit.visualization.curves import draw_comparison

# Overrides that the name of a row shows already.
SHOWN_IN_TABLE = ("MODEL.VIT.NAME", "MODEL.VIT.PRETRAINED")


def build_parser() -> CommandParser:
    """The arguments of the command."""
    parser = CommandParser(description=__doc__)
    add_recipe(parser)
    parser.add_argument(
        "--backbones", nargs="+", required=True, metavar="NAME[:WEIGHTS]", help="the encoders, see above"
    )
    parser.add_argument(
        "--frozen", action="store_true", help="freeze the encoder and train the decoder only (default: train both)"
    )
    add_series_folder(parser, "output/backbone_comparison")
    parser.add_overrides()
    return parser


@user_errors()
def main(argv: Sequence[str] | None = None) -> int:
    """Evaluate every encoder and write the comparison. Returns the exit code."""
    args = build_parser().parse_args(argv)
    choices = [BackboneChoice.parse(text) for text in args.backbones]
    if not choices or len({choice.folder_name for choice in choices}) < len(choices):
        raise UserError("--backbones must name one or more encoders, each once")
    cfg = shared_config(args)
    require_device_and_data(cfg)
    require_folder(args.output, origin="--output")
    log_to_file(args.output, terminal_level=logging.CRITICAL)
    results, failures = run_series(
        {
            str(choice): partial(
                evaluate_backbone, cfg, choice, args.output / choice.folder_name, hooks=lambda: [ProgressBar()]
            )
            for choice in choices
        },
        announce=partial(print, flush=True),
    )
    report(cfg, args, list(results.values()), failures)
    return 1 if failures else 0


def shared_config(args: argparse.Namespace) -> CfgNode:
    """The config that all encoders share. Raises UserError if it cannot be read or has no PlainViT."""
    cfg = config_to_compare(recipe_config_file(args), args.opts)
    if cfg.MODEL.BACKBONE.NAME != "PlainViT":
        raise UserError(f"MODEL.BACKBONE.NAME {cfg.MODEL.BACKBONE.NAME!r} cannot be compared: set it to 'PlainViT'")
    return merge(cfg, {"MODEL.VIT.FROZEN": True}) if args.frozen else cfg


def report(cfg: CfgNode, args: argparse.Namespace, results: Sequence[BackboneResult], failures: dict[str, str]) -> None:
    """Write the comparison as text, JSON and PNG, and print the text."""
    budget = {
        "config_file": model_name(args),
        "opts": args.opts,
        "frozen": args.frozen,
        "dataset": cfg.DATASETS.TEST[0],
        "iterations": cfg.SOLVER.MAX_ITER,
        "seed": cfg.SEED,
    }
    trained = "decoder on frozen encoder" if args.frozen else "encoder and decoder"
    title = f"{trained}, {budget['iterations']} iterations, {budget['dataset']}, seed {budget['seed']}"
    if results:
        curves = {result.name: (result.iterations, result.miou) for result in results}
        draw_comparison(curves, title, args.output / "comparison.png")
    content = {**budget, "backbones": [asdict(result) for result in results]}
    print(write_report(args.output / "comparison", [title, "", table(results), *changes(results)], content, failures))


def table(results: Sequence[BackboneResult]) -> str:
    """One row per encoder, in the order of the command line."""
    header = ("encoder", "params (M)", "MACs (G)", "final mIoU", "best mIoU", "minutes")
    rows = [
        (result.name, result.params / 1e6, result.macs / 1e9, result.miou_final, result.miou_best, result.minutes)
        for result in results
    ]
    return tabulate(rows, header, "simple", floatfmt=("", ".2f", ".2f", ".1f", ".1f", ".1f"))


def changes(results: Sequence[BackboneResult]) -> list[str]:
    """List the config values that were changed for each encoder, except its name and weights."""
    lines = []
    for result in results:
        changed = {key: value for key, value in result.overrides.items() if key not in SHOWN_IN_TABLE}
        lines += [f"  {result.name}: {key} {json.dumps(value)}" for key, value in changed.items()]
    return ["", "Changed for an encoder:", *lines] if lines else []


if __name__ == "__main__":
    sys.exit(main())
