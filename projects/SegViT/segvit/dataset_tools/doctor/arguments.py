"""Options of `check_dataset.py` that say how images and Hugging Face datasets are read, and `open_target`."""

from __future__ import annotations

import argparse

from segvit.cli_errors import from_zero, positive
from segvit.dataset_tools.doctor.checked_dataset import CheckedDataset, open_dataset, open_hugging_face
from segvit.datasets.hugging_face import PREFIX


def open_target(args: argparse.Namespace) -> CheckedDataset:
    """The dataset, folder or Hugging Face dataset of the command."""
    if not args.target.startswith(PREFIX):
        return open_dataset(args.target, ignore_value=args.ignore_value)
    return open_hugging_face(
        args.target,
        columns=args.hf_columns or ("image", "annotation"),
        reduces=args.hf_reduce_labels,
        classes=args.hf_classes or "",
        ignore_value=args.ignore_value,
    )


def add_hugging_face_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of datasets hf:..., which are the config's keys DATASETS.HF_*."""
    parser.add_argument(
        "--hf-columns",
        nargs=2,
        metavar=("IMAGES", "LABELS"),
        help="DATASETS.HF_COLUMNS of the config (default: image annotation)",
    )
    parser.add_argument("--hf-classes", metavar="FILE", help="DATASETS.HF_CLASSES of the config (default: none)")
    parser.add_argument(
        "--hf-reduce-labels", action="store_true", help="DATASETS.HF_REDUCE_LABELS of the config (default: False)"
    )


def add_image_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that name the `ImageFormat`."""
    parser.add_argument(
        "--max-level", type=from_zero, default=0, metavar="LEVEL", help="INPUT.MAX_LEVEL of the config (default: 0)"
    )
    parser.add_argument(
        "--channels",
        type=positive,
        metavar="C",
        help="INPUT.CHANNELS of the config (default: 3; with --measure-channels, those of the first image)",
    )
    parser.add_argument(
        "--levels",
        choices=("8bit", "raw", "percentile"),
        help="INPUT.LEVELS of the config (default: 8bit; with --measure-channels, raw for images of more bits)",
    )
