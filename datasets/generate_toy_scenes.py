"""Generate the toy scenes under $DETECTRON2_DATASETS: `python datasets/generate_toy_scenes.py [--seed S]`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from segvit.cli_errors import from_zero, positive, user_errors
from segvit.dataset_tools.toy_scenes import generate_toy_scenes
from segvit.datasets.registration import datasets_root
from segvit.output_files import require_folder


@user_errors()
def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--root",
        type=Path,
        default=datasets_root(),
        metavar="FOLDER",
        help="the folder that will hold toy_scenes/ (default: $DETECTRON2_DATASETS or datasets)",
    )
    parser.add_argument("--seed", type=from_zero, default=0, metavar="N", help="seed of all scenes (default: 0)")
    parser.add_argument(
        "--num-train", type=positive, default=400, metavar="N", help="scenes for training (default: 400)"
    )
    parser.add_argument("--num-val", type=positive, default=80, metavar="N", help="scenes for validation (default: 80)")
    args = parser.parse_args(argv)
    require_folder(args.root, origin="--root")
    folder = generate_toy_scenes(args.root, seed=args.seed, num_train=args.num_train, num_val=args.num_val)
    sys.stdout.write(f"{folder}\n")


if __name__ == "__main__":
    main()
