"""Parameters and multiply-accumulates of a config's model, by part, attention and class mixing included.

    python projects/SegViT/tools/analyze_model.py --config-file F [--input-size H W] [--json] [KEY VALUE ...]

Nothing is computed and no weights are read, so any model takes a few seconds.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence

from tabulate import tabulate
from torch import nn

from segvit.analysis import MacCounts, ParamCounts, count_macs, count_params
from segvit.analysis.from_config import build_random_model
from segvit.cli_errors import positive, user_errors
from segvit.d2 import load_config
from segvit.modeling.tokens import padded_size


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config-file", required=True, help="a YAML config")
    parser.add_argument("--input-size", nargs=2, type=positive, metavar=("H", "W"), help="default: MODEL.VIT.IMG_SIZE")
    parser.add_argument("--json", action="store_true", help="print one JSON object of plain counts")
    parser.add_argument("opts", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="config overrides")
    return parser.parse_args(argv)


@user_errors()
def main(argv: Sequence[str] | None = None) -> None:
    """Count and print."""
    args = parse_args(argv)
    cfg = load_config(args.config_file, args.opts)
    height, width = args.input_size or cfg.MODEL.VIT.IMG_SIZE
    model = build_random_model(cfg, device="meta")
    params, macs = count_params(model), count_macs(model, whole_patches(model, (height, width)))
    if args.json:
        print(json.dumps({"params": params, "macs": macs, "input": [height, width]}))
    else:
        print(f"{args.config_file}, one image of {height} x {width}")
        print(table(params, macs))


def whole_patches(model: nn.Module, size: tuple[int, int]) -> tuple[int, int]:
    """The size (H, W) that the model pads such images to."""
    patch = model.backbone.size_divisibility
    return padded_size(size, (patch, patch))


def table(params: ParamCounts, macs: MacCounts) -> str:
    """Both counts by part, with each part's share."""
    rows = [(part, *_cell(params, part, 1e6), *_cell(macs, part, 1e9)) for part in macs if part != "total"]
    rows.append(("total", *_cell(params, "total", 1e6), *_cell(macs, "total", 1e9)))
    header = ("part", "params (M)", "%", "MACs (G)", "%")
    return tabulate(rows, header, "simple", floatfmt=("", ".3f", ".1f", ".3f", ".1f"))


def _cell(counts: Mapping[str, int], part: str, unit: float) -> tuple[float, float]:
    count = counts.get(part, 0)
    return count / unit, 100 * count / counts["total"]


if __name__ == "__main__":
    main()
