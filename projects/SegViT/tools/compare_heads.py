"""Compare heads on the same encoder, images, iterations and seeds: mIoU and boundary IoU against minutes.

    python projects/SegViT/tools/compare_heads.py --model NAME [--heads NAME ...] [--seeds N ...] [--output FOLDER]
        [KEY VALUE ...]

NAME is a recipe of a plain ViT with ATM; each head replaces what it needs of it:

    linear      a linear classifier of the last block's tokens, with cross-entropy
    segmenter   Segmenter's mask transformer on them (arXiv 2105.05633), with cross-entropy
    eomt        EoMT's way (arXiv 2503.19108): queries in the last blocks, matched to masks
    atm         the recipe's decoder, without detail
    atm_detail  the same with detail: the recipe's, or that of configs/parts/Base-Detail.yaml

On a CPU, minutes are those of CPU time, evaluations included, since a machine may be shared. FOLDER/<head>/seed<N>/
holds each run: a finished run is not repeated, and an interrupted one continues. FOLDER/comparison.{txt,json,png} hold
the result, with mean and standard deviation if there are several seeds. The exit code is 1 if a run failed.
"""

from __future__ import annotations

import segvit  # noqa: F401  (before torch: it sets how CPU threads wait)

# isort: split
import argparse
import logging
import sys
from collections.abc import Sequence
from functools import partial

from detectron2.config import CfgNode
from tabulate import tabulate

from segvit.cli_errors import user_errors
from segvit.command_line.model_arguments import add_recipe, model_name, recipe_config_file
from segvit.command_line.parser import CommandParser
from segvit.command_line.series_arguments import add_seeds, add_series_folder
from segvit.engine.hooks.progress_bar import ProgressBar
from segvit.engine.preflight import require_device_and_data
from segvit.engine.run_setup import log_to_file
from segvit.errors import UserError
from segvit.experiments.head_comparison import HEADS, head_config, score_curves, shared_config
from segvit.experiments.run_series import write_report
from segvit.experiments.seeded_runs import SeededRuns, parse_seeds, run_seeds
from segvit.output_files import require_folder
from segvit.visualization.curves import draw_over_minutes


def build_parser() -> CommandParser:
    """The arguments of the command."""
    parser = CommandParser(description=__doc__)
    add_recipe(parser)
    parser.add_argument(
        "--heads", nargs="+", default=list(HEADS), metavar="NAME", help="the heads, see above (default: all)"
    )
    add_seeds(parser, of="head")
    add_series_folder(parser, "output/head_comparison")
    parser.add_overrides("config overrides for all heads")
    return parser


@user_errors()
def main(argv: Sequence[str] | None = None) -> int:
    """Train every head and write the comparison. Returns the exit code."""
    args = build_parser().parse_args(argv)
    heads = list(dict.fromkeys(args.heads))
    unknown = [head for head in heads if head not in HEADS]
    if unknown or not heads:
        raise UserError(f"--heads {' '.join(unknown)}: heads are {', '.join(HEADS)}")
    cfg = shared_config(recipe_config_file(args), args.opts)
    seeds = parse_seeds(args.seeds, cfg, args.opts)
    require_device_and_data(cfg)
    configs = {head: head_config(cfg, head) for head in heads}
    require_folder(args.output, origin="--output")
    log_to_file(args.output, terminal_level=logging.CRITICAL)
    results, failures = run_seeds(
        configs, seeds, args.output, announce=partial(print, flush=True), hooks=lambda: [ProgressBar()]
    )
    report(cfg, args, seeds, results, failures)
    return 1 if failures else 0


def report(
    cfg: CfgNode,
    args: argparse.Namespace,
    seeds: Sequence[int],
    results: Sequence[SeededRuns],
    failures: dict[str, str],
) -> None:
    """Write the comparison as text, JSON and PNG, and print the text."""
    on_cpu = cfg.MODEL.DEVICE == "cpu"
    budget = {
        "config_file": model_name(args),
        "opts": args.opts,
        "dataset": cfg.DATASETS.TEST[0],
        "iterations": cfg.SOLVER.MAX_ITER,
        "seeds": list(seeds),
    }
    title = f"{budget['iterations']} iterations, {budget['dataset']}, seed {' '.join(map(str, seeds))}"
    if results:
        unit = "minutes of CPU time" if on_cpu else "minutes"
        draw_over_minutes(score_curves(results, on_cpu=on_cpu), title, args.output / "comparison.png", unit=unit)
    content = {**budget, "heads": [result.as_dict() for result in results]}
    print(write_report(args.output / "comparison", [title, "", table(results, on_cpu=on_cpu)], content, failures))


def table(results: Sequence[SeededRuns], *, on_cpu: bool) -> str:
    """One row per head, in the order of the command line."""
    header = ("head", "final mIoU", "boundary IoU", "CPU minutes" if on_cpu else "minutes", "params (M)", "MACs (G)")
    rows = [
        (
            result.name,
            str(result.miou_final),
            str(result.boundary_iou),
            f"{(result.cpu_minutes if on_cpu else None) or result.minutes:.1f}",
            f"{result.params / 1e6:.2f}",
            f"{result.macs / 1e9:.3f}",
        )
        for result in results
    ]
    return tabulate(rows, header, "simple", colalign=("left", *["right"] * 5), disable_numparse=True)


if __name__ == "__main__":
    sys.exit(main())
