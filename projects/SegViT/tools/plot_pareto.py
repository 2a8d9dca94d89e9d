"""Draw mIoU against milliseconds and multiply-accumulates of several models: what a mode costs, and what it loses.

    python projects/SegViT/tools/plot_pareto.py --row NAME MODEL [MODEL ...] [KEY VALUE ...] [--row ...]
        [--output FOLDER]

NAME is the row's name in table and plot. MODEL is

    the OUTPUT_DIR of a run     its last checkpoint; mIoU from the run's log, or evaluated if KEY VALUE pairs follow
    a model folder, an exported .onnx or OpenVINO .xml file     evaluated
    the name of a config        without weights: times and operations of a random model, and no point in the plot

Several models of a row are runs with other seeds: the plot has their mean and a bar of one standard deviation. KEY
VALUE pairs change this row alone, such as MODEL.VIT.REDUCTION merge of a model that was trained without it.

All models segment the same images of the first test set, on the CPU, in interleaved rounds of one run: from the model's
input to labels at the size of the file. Operations that depend on the image are counted on these images.
FOLDER/pareto.{txt,json,png} hold the result. A figure that a row has not is a dash, and a line below the table says
why.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from tabulate import tabulate

from segvit.analysis.timing import machine_name, spread_text
from segvit.cli_errors import positive, user_errors
from segvit.command_line.parser import CommandParser, is_key
from segvit.errors import UserError
from segvit.experiments.mode_comparison import Measurement, ModeFigures, ModeSpec, compare_modes
from segvit.output_files import atomic_write_text, require_folder
from segvit.visualization.pareto import ParetoPoint, draw_pareto


def build_parser() -> CommandParser:
    """The arguments of the command."""
    parser = CommandParser(description=__doc__)
    parser.add_argument(
        "--row",
        nargs="+",
        action="append",
        required=True,
        metavar="NAME MODEL [KEY VALUE]",
        help="a row, see above; as often as there are rows",
    )
    parser.add_argument("--rounds", type=positive, default=40, metavar="N", help="timed rounds (default: %(default)s)")
    parser.add_argument(
        "--images", type=positive, default=8, metavar="N", help="images that are timed (default: %(default)s)"
    )
    parser.add_argument("--threads", type=positive, metavar="N", help="CPU threads (default: PyTorch's choice)")
    parser.add_argument(
        "--cpu-time",
        action="store_true",
        help="measure the CPU time of this process, for a machine that is shared (default: the wall clock)",
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("output/pareto"),
        metavar="FOLDER",
        help="the folder for table and plot (default: %(default)s)",
    )
    return parser


def row_of(words: Sequence[str]) -> ModeSpec:
    """The row of the words after --row. Raises UserError."""
    start = next((index for index, word in enumerate(words) if index and is_key(word)), len(words))
    name, models, opts = words[0], words[1:start], words[start:]
    if not models:
        raise UserError(f"--row {name}: name a model after the row's name")
    if len(opts) % 2:
        raise UserError(f"--row {name}: overrides are KEY VALUE pairs: {opts[-1]} has no value")
    if "MODEL.DEVICE" in opts[::2]:
        raise UserError(f"--row {name}: MODEL.DEVICE would have no effect: all models run on the CPU")
    return ModeSpec(name, models, opts)


@user_errors()
def main(argv: Sequence[str] | None = None) -> None:
    """Measure the rows, and write table and plot."""
    args = build_parser().parse_args(argv)
    specs = [row_of(words) for words in args.row]
    names = [spec.name for spec in specs]
    repeated = [name for name in names if names.count(name) > 1]
    if repeated:
        raise UserError(f"--row {repeated[0]}: two rows have this name")
    require_folder(args.output, origin="--output")
    if args.threads:
        torch.set_num_threads(args.threads)
    measurement = Measurement(rounds=args.rounds, num_images=args.images, cpu_time=args.cpu_time)
    test_set, rows = compare_modes(specs, measurement)
    report(args, test_set, rows)


def report(args: argparse.Namespace, test_set: str, rows: Sequence[ModeFigures]) -> None:
    """Write the rows as text, JSON and PNG, and print the text."""
    machine, threads = machine_name(torch.device("cpu")), torch.get_num_threads()
    clock = "CPU time" if args.cpu_time else "wall clock"
    title = f"{test_set}; {machine}, {threads} thread{'s' if threads > 1 else ''}, {clock}"
    reasons = [f"{row.name}: {what}: {why}" for row in rows for what, why in row.missing.items()]
    text = "\n".join([f"{title}, {args.rounds} rounds", "", table(rows), *reasons])
    setting = {"test_set": test_set, "machine": machine, "threads": threads, "clock": clock, "rounds": args.rounds}
    content = {**setting, "commands": args.row, "rows": [asdict(row) for row in rows]}
    atomic_write_text(args.output / "pareto.txt", text + "\n")
    atomic_write_text(args.output / "pareto.json", json.dumps(content, indent=2) + "\n")
    plot = args.output / "pareto.png"
    if any(row.miou is not None for row in rows):
        points = [point_of(row, f"milliseconds of an image ({clock})") for row in rows]
        draw_pareto(points, title, plot, score="mIoU (%)")
        print(f"{text}\n\n  {args.output / 'pareto'}.{{txt,json,png}}")
    else:
        plot.unlink(missing_ok=True)  # of other rows
        print(f"{text}\n\nNo row has an mIoU, so that there is no plot.\n  {args.output / 'pareto'}.{{txt,json}}")


def table(rows: Sequence[ModeFigures]) -> str:
    """One line per row, in the order of the command line; `ratio` is the time against that of the first row."""
    header = ("row", "mIoU", "runs", "ms", "spread", "ratio", "MACs (G)")
    lines = []
    for row in rows:
        timing = row.timing
        times = ("-",) * 3
        if timing is not None:
            times = (f"{timing['median_ms']:.1f}", spread_text(timing), f"{timing['ratio']:.2f}")
        macs = "-" if row.gmacs is None else f"{row.gmacs:.3f}"
        lines.append((row.name, "-" if row.miou is None else str(row.miou), str(row.runs), *times, macs))
    return tabulate(lines, header, "simple", colalign=("left", *["right"] * 6), disable_numparse=True)


def point_of(row: ModeFigures, time_title: str) -> ParetoPoint:
    """The row in the plot."""
    milliseconds = None if row.timing is None else row.timing["median_ms"]
    return ParetoPoint(
        name=row.name,
        score=None if row.miou is None else row.miou.mean,
        deviation=None if row.miou is None else row.miou.deviation,
        costs={time_title: milliseconds, "10^9 multiply-accumulates of an image": row.gmacs},
    )


if __name__ == "__main__":
    main()
