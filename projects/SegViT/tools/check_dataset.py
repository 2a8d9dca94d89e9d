"""Check a dataset before training on it, and convert colour label maps to class ids.

    check_dataset.py NAME-or-FOLDER [--output FOLDER]
    check_dataset.py FOLDER --convert-colors NEW_FOLDER [--palette FILE] [--unlisted-as-ignored]

FOLDER contains images/{train,val}, annotations/{train,val} and classes.txt or classes.json. NAME is a registered
dataset, or the common first part of several names. Writes report.json, histogram.png and contact_sheet.png. The exit
code is 1 if errors were found.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import segvit.data  # noqa: F401  (registers the datasets)
from segvit.cli_errors import positive, user_errors
from segvit.dataset_tools.doctor import (
    DatasetReport,
    as_json,
    check_dataset,
    convert_in_place,
    convert_to_folder,
    describe,
    draw_histogram,
    draw_samples,
    open_dataset,
    palette_of,
    read_palette,
)
from segvit.output_files import atomic_write_text, require_folder


@user_errors()
def main(argv: Sequence[str] | None = None) -> int:
    """Check, report and convert. Returns the exit code."""
    args = build_parser().parse_args(argv)
    dataset = open_dataset(args.target, ignore_value=args.ignore_value)
    output = args.output or default_output(args.target)
    require_folder(output, origin="--output")
    report = check_dataset(dataset, workers=args.workers)
    print(describe(report))
    for path in write_report(report, output, args.num_images):
        print(path)
    if args.convert_colors or args.convert_in_place:
        convert(report, args)
        print("check the result with this command")
    return int(report.has_errors)


def build_parser() -> argparse.ArgumentParser:
    """The command-line options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", metavar="NAME-or-FOLDER")
    parser.add_argument("--output", type=Path, help="folder of the report; default: output/check_dataset/<name>")
    parser.add_argument("--ignore-value", type=int, default=255, help="the id of ignored pixels in a FOLDER")
    parser.add_argument("--num-images", type=positive, default=12, help="number of images on the contact sheet")
    parser.add_argument("--workers", type=positive, default=os.cpu_count(), help="number of threads that read files")
    target = parser.add_mutually_exclusive_group()
    target.add_argument(
        "--convert-colors", type=Path, metavar="NEW_FOLDER", help="write all label maps as ids to a new folder"
    )
    target.add_argument("--convert-in-place", action="store_true", help="replace colour label maps by their ids")
    parser.add_argument(
        "--palette", type=Path, help="JSON list of class names and colours; default: the colours in classes.json"
    )
    parser.add_argument(
        "--unlisted-as-ignored", action="store_true", help="convert colours outside the palette to the ignore value"
    )
    return parser


def default_output(target: str) -> Path:
    """A folder with the name of the dataset."""
    name = Path(target).resolve().name if Path(target).is_dir() else target
    return Path("output", "check_dataset", name)


def write_report(report: DatasetReport, output: Path, num_images: int) -> list[Path]:
    """Write report.json and the figures. Returns the written files."""
    json_file, histogram, sheet = (output / name for name in ("report.json", "histogram.png", "contact_sheet.png"))
    atomic_write_text(json_file, json.dumps(as_json(report), indent=1) + "\n")
    draw_histogram(report, histogram)
    sheet.unlink(missing_ok=True)  # from an earlier run, in case no image can be drawn now
    has_sheet = draw_samples(report, sheet, num_images=num_images)
    return [json_file, histogram, *([sheet] if has_sheet else [])]


def convert(report: DatasetReport, args: argparse.Namespace) -> None:
    """Convert colour label maps, to a new folder or in place."""
    classes, ignore_value = report.dataset.classes, report.dataset.ignore_value
    if args.palette:
        palette = read_palette(args.palette, classes, ignore_value, unlisted_as_ignored=args.unlisted_as_ignored)
    else:
        palette = palette_of(classes, ignore_value, unlisted_as_ignored=args.unlisted_as_ignored)
    if args.convert_in_place:
        converted = convert_in_place(report, palette)
        print(f"{len(converted)} label maps replaced by their ids")
    else:
        converted = convert_to_folder(report, palette, args.convert_colors)
        print(f"{len(converted)} label maps converted; {args.convert_colors} contains all of them")


if __name__ == "__main__":
    sys.exit(main())
