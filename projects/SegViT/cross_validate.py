"""Measure what a recipe reaches on groups of images that it has not seen: each group is left out of training once.

    python cross_validate.py --model NAME --groups REGEX [--unseen GROUP ...] [--output FOLDER] [KEY VALUE ...]

REGEX names an image's group at the start of its file name, by its first parenthesis: '(\\d+[A-Z]+\\d*)_' finds the
drives of CamVid. The images of DATASETS.TRAIN and DATASETS.TEST are pooled; for each group a run trains on all others
and is evaluated on it. --unseen runs these groups only. FOLDER/<group>/ holds each run: a finished run is not repeated,
and an interrupted one continues. FOLDER/unseen_groups.{txt,json} hold the results of all finished runs, by their last
evaluations. The exit code is 1 if a run failed.
"""

from __future__ import annotations

import segvit  # noqa: F401  (before torch: it sets how CPU threads wait)

# isort: split
import argparse
import logging
import statistics
import sys
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

from tabulate import tabulate

from segvit.cli_errors import user_errors
from segvit.command_line.model_arguments import add_recipe, model_name, recipe_config_file
from segvit.command_line.parser import CommandParser
from segvit.command_line.series_arguments import add_series_folder
from segvit.engine.hooks.progress_bar import ProgressBar
from segvit.engine.preflight import preflight, require_device_and_data
from segvit.engine.run_setup import log_to_file
from segvit.errors import UserError
from segvit.experiments.cached_run import RESULT, config_to_compare
from segvit.experiments.run_series import run_series, write_report
from segvit.experiments.unseen_groups import Fold, FoldResult, make_folds, mean_class_iou, run_fold
from segvit.output_files import require_folder


def build_parser() -> CommandParser:
    """The arguments of the command."""
    parser = CommandParser(description=__doc__)
    add_recipe(parser)
    parser.add_argument(
        "--groups", required=True, metavar="REGEX", help="regular expression of an image's group in its file name"
    )
    parser.add_argument(
        "--unseen", nargs="+", default=[], metavar="GROUP", help="leave out these groups only (default: each one)"
    )
    add_series_folder(parser, "output/unseen_groups")
    parser.add_overrides()
    return parser


@user_errors()
def main(argv: Sequence[str] | None = None) -> int:
    """Run every fold and write the tables. Returns the exit code."""
    args = build_parser().parse_args(argv)
    cfg = config_to_compare(recipe_config_file(args), args.opts)
    require_device_and_data(cfg)
    folds = chosen(make_folds(cfg, args.groups), args.unseen, args.output)
    preflight(folds[0].cfg, trains=True)
    require_folder(args.output, origin="--output")
    log_to_file(args.output, terminal_level=logging.CRITICAL)
    results, failures = run_series(
        {
            f"{fold.unseen} unseen ({len(fold.unseen_images)} images), {len(fold.trained_images)} images trained on": (
                partial(run_fold, fold, args.output / fold.folder_name, hooks=lambda: [ProgressBar()])
            )
            for fold in folds
        },
        announce=partial(print, flush=True),
    )
    report(args, cfg.SOLVER.MAX_ITER, list(results.values()), failures)
    return 1 if failures else 0


def chosen(folds: Sequence[Fold], words: Sequence[str], output: Path) -> list[Fold]:
    """The folds of these groups, or all; and those that are finished, so that the report keeps them.

    Raises:
        UserError: for an unknown group.
    """
    unknown = sorted(set(words) - {fold.unseen for fold in folds})
    if unknown:
        raise UserError(f"--unseen {' '.join(unknown)}: groups are {', '.join(fold.unseen for fold in folds)}")
    return [
        fold for fold in folds if not words or fold.unseen in words or (output / fold.folder_name / RESULT).is_file()
    ]


def report(args: argparse.Namespace, iterations: int, results: Sequence[FoldResult], failures: dict[str, str]) -> None:
    """Write the tables as text and JSON, and print the text."""
    budget = {"config": model_name(args), "groups": args.groups, "opts": args.opts, "iterations": iterations}
    content = {**budget, "folds": [asdict(result) for result in results]}
    lines = [f"{model_name(args)}, {iterations} iterations, groups {args.groups}"]
    if results:
        means = {
            "miou": statistics.fmean(result.miou for result in results),
            "boundary_iou": statistics.fmean(result.boundary_iou for result in results),
            "class_iou": mean_class_iou(results),
        }
        content["mean"] = means
        lines += ["", fold_table(results, means["miou"], means["boundary_iou"]), "", class_table(results)]
    print(write_report(args.output / "unseen_groups", lines, content, failures))


def fold_table(results: Sequence[FoldResult], miou: float, boundary_iou: float) -> str:
    """One row per group, and the means."""
    header = ("unseen", "images", "trained on", "mIoU", "boundary IoU", "minutes")
    rows: list[tuple[object, ...]] = [
        (result.unseen, result.num_unseen, result.num_trained, result.miou, result.boundary_iou, result.minutes)
        for result in results
    ]
    if len(results) > 1:
        rows.append(("mean", None, None, miou, boundary_iou, None))
    return tabulate(rows, header, "simple", floatfmt=("", "", "", ".1f", ".1f", ".1f"), disable_numparse=[0])


def class_table(results: Sequence[FoldResult]) -> str:
    """The IoU of each class in each group; empty where it does not occur."""
    header = ("class", *(result.unseen for result in results), "mean")
    rows = [
        (name, *(result.class_iou[name] for result in results), mean) for name, mean in mean_class_iou(results).items()
    ]
    return tabulate(rows, header, "simple", floatfmt=".1f", disable_numparse=[0])


if __name__ == "__main__":
    sys.exit(main())
