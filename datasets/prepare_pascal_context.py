"""Prepare PASCAL-Context, 59 and 60 classes, under $DETECTRON2_DATASETS/pascal_context; see datasets/README.md."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from segvit.dataset_tools.preparation.benchmarks.pascal_context import JSON, MATS, SOURCES, find_pascal_context
from segvit.dataset_tools.preparation.command import run_command
from segvit.dataset_tools.preparation.distribution import Distribution


def find(options: argparse.Namespace) -> Distribution:
    voc = options.voc or options.root / "VOCdevkit" / "VOC2010"
    return find_pascal_context(options.root, voc, options.source)


def main(arguments: Sequence[str] | None = None) -> int:
    """Prepare the dataset. Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--voc", type=Path, metavar="FOLDER", help="folder of VOC2010 (default: VOCdevkit/VOC2010 under the root)"
    )
    parser.add_argument(
        "--source", choices=SOURCES, help=f"labels from {MATS}/*.mat or {JSON} (default: the .mat files if they exist)"
    )
    return run_command(find, parser=parser, arguments=arguments)


if __name__ == "__main__":
    sys.exit(main())
