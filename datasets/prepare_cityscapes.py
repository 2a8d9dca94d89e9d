"""Prepare Cityscapes, 19 classes, under $DETECTRON2_DATASETS/cityscapes; see datasets/README.md."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from segvit.dataset_tools.preparation.benchmarks.cityscapes import find_cityscapes
from segvit.dataset_tools.preparation.command import run_command


def main(arguments: Sequence[str] | None = None) -> int:
    """Prepare the dataset. Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    return run_command(lambda options: find_cityscapes(options.root), parser=parser, arguments=arguments)


if __name__ == "__main__":
    sys.exit(main())
