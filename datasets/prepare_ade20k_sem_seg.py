"""Prepare ADE20K, 150 classes, under $DETECTRON2_DATASETS/ADEChallengeData2016; see datasets/README.md."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from segvit.dataset_tools.preparation.benchmarks.ade20k import find_ade20k
from segvit.dataset_tools.preparation.command import run_command


def main(arguments: Sequence[str] | None = None) -> int:
    """Prepare the dataset. Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    return run_command(lambda options: find_ade20k(options.root), parser=parser, arguments=arguments)


if __name__ == "__main__":
    sys.exit(main())
