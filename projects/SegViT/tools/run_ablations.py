"""Run the papers' ablations, `configs/ablations/*.yaml`, and print a table of their accuracy and cost.

    python projects/SegViT/tools/run_ablations.py [--run GROUP-or-NAME ...] [--on FILE_OR_NAME] [--seeds N ...]
        [--output FOLDER] [KEY VALUE ...]

--run takes groups (decoder, levels, stages, sampling, reduction) and names of configs; the default is all. A
config in several groups runs once. The dataset is CamVid; --on overrides data keys by those of a YAML file, such as
ablations/on_toy_scenes for the generated toy scenes. With several seeds, the table has mean and standard
deviation. FOLDER/<name>/seed<N>/ holds each run: a finished run is not repeated, and an interrupted one continues.
FOLDER/ablations.{txt,json} hold the table. The exit code is 1 if a run failed.
"""

from __future__ import annotations

import segvit  # noqa: F401  (before torch: it sets how CPU threads wait)

# isort: split
import argparse
import logging
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from detectron2.config import CfgNode
from tabulate import tabulate

from segvit.cli_errors import user_errors
from segvit.command_line.parser import CommandParser
from segvit.command_line.series_arguments import add_seeds, add_series_folder
from segvit.config.loading import config_layers, find_config
from segvit.config.overrides import words_of
from segvit.engine.hooks.progress_bar import ProgressBar
from segvit.engine.preflight import require_device_and_data
from segvit.engine.run_setup import log_to_file
from segvit.errors import UserError
from segvit.experiments.cached_run import config_to_compare
from segvit.experiments.run_series import write_report
from segvit.experiments.seeded_runs import SeededRuns, parse_seeds, run_seeds
from segvit.output_files import require_folder

CONFIGS = Path(__file__).resolve().parents[1] / "configs" / "ablations"
GROUPS = {
    "decoder": ("per_pixel_ce", "atm_ce", "atm_mask"),
    "levels": ("atm_mask", "levels_2_5", "levels_2_3_5", "levels_0_2_3_5"),
    "stages": ("atm_mask", "three_atm_last_level", "levels_2_3_5"),
    "sampling": ("qd_conv_q", "qd_nearest_qkv", "qd_qu_nearest"),
    "reduction": ("atm_mask", "qd", "qd_qu", "qd_qu_nearest", "eqd_qu"),
}


def build_parser() -> CommandParser:
    """The arguments of the command."""
    parser = CommandParser(description=__doc__)
    parser.add_argument(
        "--run", nargs="+", default=list(GROUPS), metavar="GROUP-or-NAME", help="the ablations to run (default: all)"
    )
    parser.add_argument(
        "--on",
        metavar="FILE_OR_NAME",
        help="YAML file with data keys that override those of each config (default: CamVid)",
    )
    add_seeds(parser, of="config")
    add_series_folder(parser, "output/ablations")
    parser.add_overrides("config overrides for all runs")
    return parser


@user_errors()
def main(argv: Sequence[str] | None = None) -> int:
    """Run every ablation and write the table. Returns the exit code."""
    args = build_parser().parse_args(argv)
    on = None if args.on is None else find_config(args.on)
    configs = {name: ablation_config(CONFIGS / f"{name}.yaml", on=on, opts=args.opts) for name in chosen(args.run)}
    seeds = parse_seeds(args.seeds, next(iter(configs.values())), args.opts)
    for cfg in configs.values():
        require_device_and_data(cfg)
    require_folder(args.output, origin="--output")
    log_to_file(args.output, terminal_level=logging.CRITICAL)
    results, failures = run_seeds(
        configs, seeds, args.output, announce=partial(print, flush=True), hooks=lambda: [ProgressBar()]
    )
    report(args, configs, seeds, results, failures)
    return 1 if failures else 0


def ablation_config(config_file: Path, *, on: Path | None = None, opts: Sequence[object] = ()) -> CfgNode:
    """Load the config of an ablation.

    Args:
        config_file: the ablation's YAML file.
        on: a YAML file whose keys override it, such as those of another dataset.
        opts: `KEY VALUE` overrides, which override both files.

    Raises:
        UserError: if a file or an override is wrong, or there is no test set.
    """
    layers = config_layers(on) if on else []
    overrides = [word for _, layer in layers for word in words_of(layer)]
    return config_to_compare(config_file, [*overrides, *opts], shared=True)


def chosen(words: Sequence[str]) -> list[str]:
    """The names of the selected configs, each once. Raises UserError for an unknown group or name."""
    known = dict.fromkeys(name for names in GROUPS.values() for name in names)
    unknown = [word for word in words if word not in GROUPS and word not in known]
    if unknown or not words:
        raise UserError(
            f"--run {' '.join(unknown)}: groups are {', '.join(GROUPS)}; names are {', '.join(known)}; "
            "heads are compared by compare_heads.py"
        )
    return list(dict.fromkeys(name for word in words for name in GROUPS.get(word, (word,))))


def report(
    args: argparse.Namespace,
    configs: dict[str, CfgNode],
    seeds: Sequence[int],
    results: Sequence[SeededRuns],
    failures: dict[str, str],
) -> None:
    """Write the table as text and JSON, and print the text."""
    cfg = next(iter(configs.values()))
    budget = {
        "dataset": cfg.DATASETS.TEST[0],
        "on": args.on,
        "opts": args.opts,
        "iterations": cfg.SOLVER.MAX_ITER,
        "seeds": list(seeds),
    }
    title = f"{budget['iterations']} iterations, {budget['dataset']}, seed {' '.join(map(str, seeds))}"
    content = {**budget, "ablations": [result.as_dict() for result in results]}
    print(write_report(args.output / "ablations", [title, "", table(results)], content, failures))


def table(results: Sequence[SeededRuns]) -> str:
    """One row per ablation, in the order of the command line."""
    header = ("ablation", "final mIoU", "best mIoU", "boundary IoU", "minutes", "params (M)", "MACs (G)", "s/iteration")
    rows = [
        (
            result.name,
            str(result.miou_final),
            str(result.miou_best),
            "-" if result.boundary_iou is None else str(result.boundary_iou),
            f"{result.minutes:.1f}",
            f"{result.params / 1e6:.2f}",
            f"{result.macs / 1e9:.3f}",
            "-" if result.seconds_per_iteration is None else f"{result.seconds_per_iteration:.3f}",
        )
        for result in results
    ]
    return tabulate(rows, header, "simple", colalign=("left", *["right"] * 7), disable_numparse=True)


if __name__ == "__main__":
    sys.exit(main())
