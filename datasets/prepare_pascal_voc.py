"""Prepare PASCAL VOC 2012, 21 classes, under $DETECTRON2_DATASETS/pascal_voc_2012; see datasets/README.md."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from segvit.dataset_tools.preparation.benchmarks.pascal_voc import find_pascal_voc
from segvit.dataset_tools.preparation.command import run_command
from segvit.dataset_tools.preparation.distribution import Distribution
from segvit.errors import UserError


def find(options: argparse.Namespace) -> Distribution:
    if options.sbd and options.without_sbd:
        raise UserError(f"--sbd {options.sbd} and --without-sbd: leave one out")
    voc = options.voc or options.root / "VOCdevkit" / "VOC2012"
    sbd = None if options.without_sbd else options.sbd or options.root / "benchmark_RELEASE" / "dataset"
    return find_pascal_voc(options.root, voc, sbd)


def main(arguments: Sequence[str] | None = None) -> int:
    """Prepare the dataset. Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--voc", type=Path, metavar="FOLDER", help="folder of VOC2012 (default: VOCdevkit/VOC2012 under the root)"
    )
    parser.add_argument(
        "--sbd",
        type=Path,
        metavar="FOLDER",
        help="folder of SBD with cls, train.txt and val.txt (default: benchmark_RELEASE/dataset under the root)",
    )
    parser.add_argument(
        "--without-sbd", action="store_true", help="prepare VOC2012 alone, without the split trainaug (default: both)"
    )
    return run_command(find, parser=parser, arguments=arguments)


if __name__ == "__main__":
    sys.exit(main())
