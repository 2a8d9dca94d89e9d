"""Print the parameters and multiply-accumulates of a config's model, by part.

    python projects/SegViT/tools/analyze_model.py --config-file F [--input-size H W] [--json] [KEY VALUE ...]

Attention and class mixing are counted. The model is built without weights and not run: it takes seconds.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence

from tabulate import tabulate

from segvit.analysis import MacCounts, ParamCounts, count_macs, count_params
from segvit.analysis.from_config import build_random_model
from segvit.cli_errors import positive, user_errors
from segvit.d2 import load_config


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config-file", required=True, metavar="FILE", help="the config, a YAML file")
    parser.add_argument(
        "--input-size",
        nargs=2,
        type=positive,
        metavar=("H", "W"),
        help="size of the image in pixels (default: MODEL.VIT.IMG_SIZE)",
    )
    parser.add_argument("--json", action="store_true", help="print the counts as one JSON object (default: a table)")
    parser.add_argument(
        "opts", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="config overrides, after all options"
    )
    return parser.parse_args(argv)


@user_errors()
def main(argv: Sequence[str] | None = None) -> None:
    """Count and print the table or the JSON object."""
    args = parse_args(argv)
    cfg = load_config(args.config_file, args.opts)
    height, width = args.input_size or cfg.MODEL.VIT.IMG_SIZE
    model = build_random_model(cfg, device="meta").network
    params = count_params(model)
    macs = count_macs(model, model.padded_size((height, width)))
    if args.json:
        print(json.dumps({"params": params, "macs": macs, "input": [height, width]}))
    else:
        print(f"{args.config_file}, one image of {height} x {width}")
        print(table(params, macs))


def table(params: ParamCounts, macs: MacCounts) -> str:
    """Both counts by part, with percentages."""
    rows = [(part, *_cells(params, part, 1e6), *_cells(macs, part, 1e9)) for part in macs if part != "total"]
    rows.append(("total", *_cells(params, "total", 1e6), *_cells(macs, "total", 1e9)))
    header = ("part", "params (M)", "%", "MACs (G)", "%")
    return tabulate(rows, header, "simple", floatfmt=("", ".3f", ".1f", ".3f", ".1f"))


def _cells(counts: Mapping[str, int], part: str, unit: float) -> tuple[float, float]:
    count = counts.get(part, 0)
    return count / unit, 100 * count / counts["total"]


if __name__ == "__main__":
    main()
