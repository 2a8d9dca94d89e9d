"""Generate the toy scenes under $DETECTRON2_DATASETS: `python datasets/generate_toy_scenes.py [--seed S]`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from segvit.data.datasets.registration import datasets_root
from segvit.data.toy_scenes import generate_toy_scenes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, default=datasets_root(), help="folder that will hold toy_scenes/")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--num-train", type=int, default=400)
    parser.add_argument("--num-val", type=int, default=80)
    args = parser.parse_args()
    folder = generate_toy_scenes(args.root, seed=args.seed, num_train=args.num_train, num_val=args.num_val)
    sys.stdout.write(f"{folder}\n")


if __name__ == "__main__":
    main()
