"""Compare encoders by what the ATM decoder reaches on them under one budget: same config, iterations and seed.

    python projects/SegViT/tools/compare_backbones.py --config-file F --backbones NAME[:WEIGHTS] ... [--frozen]
        [--output FOLDER] [KEY VALUE ...]

NAME is a timm name of a plain ViT and WEIGHTS a tag of timm's or a local file; without it the encoder starts from
random weights. The decoder as an indicator of the representation is an idea of SegViTv2 (arXiv 2306.06289).
`MODEL.VIT.EMBED_DIM`, `DEPTH`, `NUM_HEADS` and `PATCH_SIZE` resize all encoders alike. What a config must change for
an encoder is listed below the table. FOLDER/<encoder>/ holds each run: a finished one is not run again, one that was
cut off continues. FOLDER/comparison.{txt,json,png} hold the outcome. Exit code 1 where an encoder failed.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

from detectron2.config import CfgNode
from tabulate import tabulate

from segvit.cli_errors import user_errors
from segvit.engine.hooks.progress_bar import ProgressBar
from segvit.engine.preflight import require_device_and_data
from segvit.errors import UserError
from segvit.experiments.backbone_comparison import BackboneChoice, BackboneResult, evaluate_backbone
from segvit.experiments.cached_run import config_to_compare, merge
from segvit.experiments.run_series import failure_lines, log_to_file, run_series, split_overrides
from segvit.output_files import atomic_write_text, require_folder
from segvit.visualization.curves import draw_comparison


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config-file", required=True, help="a YAML config of a plain ViT with the ATM decoder")
    parser.add_argument("--backbones", nargs="+", required=True, metavar="NAME[:WEIGHTS]")
    parser.add_argument("--frozen", action="store_true", help="train the decoder alone")
    parser.add_argument("--output", type=Path, default=Path("output/backbone_comparison"))
    parser.add_argument("opts", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="config overrides for all encoders")
    args = parser.parse_args(argv)
    args.backbones, behind = split_overrides(args.backbones)
    args.opts = behind + args.opts
    return args


@user_errors()
def main(argv: Sequence[str] | None = None) -> int:
    """Evaluate every encoder and write the comparison. Returns the exit code."""
    args = parse_args(argv)
    choices = [BackboneChoice.parse(text) for text in args.backbones]
    if not choices or len({choice.folder_name for choice in choices}) < len(choices):
        raise UserError("--backbones must name one or more encoders, each once")
    cfg = shared_config(args)
    require_device_and_data(cfg)
    require_folder(args.output, origin="--output")
    log_to_file(args.output)
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
    """The config of all encoders. Raises UserError where it cannot be read or nothing can be compared by it."""
    cfg = config_to_compare(args.config_file, args.opts)
    if cfg.MODEL.BACKBONE.NAME != "PlainViT":
        raise UserError(f"MODEL.BACKBONE.NAME {cfg.MODEL.BACKBONE.NAME!r} is not compared, only 'PlainViT' is")
    return merge(cfg, {"MODEL.VIT.FROZEN": True}) if args.frozen else cfg


def report(cfg: CfgNode, args: argparse.Namespace, results: Sequence[BackboneResult], failures: dict[str, str]) -> None:
    """Write the comparison as text, JSON and PNG, and print the text."""
    budget = {
        "config_file": str(args.config_file),
        "opts": args.opts,
        "frozen": args.frozen,
        "dataset": cfg.DATASETS.TEST[0],
        "iterations": cfg.SOLVER.MAX_ITER,
        "seed": cfg.SEED,
    }
    what = "decoder on frozen encoder" if args.frozen else "encoder and decoder"
    title = f"{what}, {budget['iterations']} iterations, {budget['dataset']}, seed {budget['seed']}"
    text = "\n".join([title, "", table(results), *changes(results), *failure_lines(failures)])
    content = {**budget, "backbones": [asdict(result) for result in results], "failures": failures}
    atomic_write_text(args.output / "comparison.txt", text + "\n")
    atomic_write_text(args.output / "comparison.json", json.dumps(content, indent=2) + "\n")
    if results:
        curves = {result.name: (result.iterations, result.miou) for result in results}
        draw_comparison(curves, title, args.output / "comparison.png")
    print(f"\n{text}\n\n  {args.output / 'comparison'}.{{txt,json,png}}")


def table(results: Sequence[BackboneResult]) -> str:
    """One row per encoder, in the order asked for."""
    header = ("encoder", "params (M)", "MACs (G)", "final mIoU", "best mIoU", "minutes")
    rows = [
        (result.name, result.params / 1e6, result.macs / 1e9, result.miou_final, result.miou_best, result.minutes)
        for result in results
    ]
    return tabulate(rows, header, "simple", floatfmt=("", ".2f", ".2f", ".1f", ".1f", ".1f"))


def changes(results: Sequence[BackboneResult]) -> list[str]:
    """What the config had to change for each encoder, besides its name and weights."""
    lines = []
    for result in results:
        own = {key: value for key, value in result.overrides.items() if key not in NAMED_BY_THE_ROW}
        lines += [f"  {result.name}: {key} {json.dumps(value)}" for key, value in own.items()]
    return ["", "Changed for an encoder:", *lines] if lines else []


NAMED_BY_THE_ROW = ("MODEL.VIT.NAME", "MODEL.VIT.PRETRAINED")


if __name__ == "__main__":
    sys.exit(main())
