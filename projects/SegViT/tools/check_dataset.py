"""Examine a data set before training on it, and convert coloured label maps to class ids.

    check_dataset.py NAME-or-FOLDER [--output FOLDER]
    check_dataset.py FOLDER --convert-colors NEW_FOLDER [--palette FILE] [--unlisted-as-ignored]

FOLDER holds images/{train,val}, annotations/{train,val} and classes.txt or classes.json; NAME is a registered data set,
or what the names of its splits begin with. Writes report.json, histogram.png and contact_sheet.png. Exit code 1 where
there are errors.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import segvit.data  # noqa: F401  (registers the data sets)
from segvit.cli_errors import positive, user_errors
from segvit.dataset_tools.doctor import (
    Diagnosis,
    as_json,
    convert_in_place,
    convert_to_folder,
    describe,
    examine,
    open_subject,
    palette_of,
    read_palette,
)
from segvit.dataset_tools.doctor.pictures import draw_histogram, draw_samples
from segvit.output_files import atomic_write_text, require_folder


@user_errors()
def main(argv: Sequence[str] | None = None) -> int:
    """Examine, report and convert. Returns the exit code."""
    args = build_parser().parse_args(argv)
    subject = open_subject(args.target, ignore_value=args.ignore_value)
    output = args.output or default_output(args.target)
    require_folder(output, origin="--output")
    diagnosis = examine(subject, workers=args.workers)
    print(describe(diagnosis))
    for path in write_report(diagnosis, output, args.num_images):
        print(path)
    if args.convert_colors or args.convert_in_place:
        convert(diagnosis, args)
        print("examine the result by this command, too")
    return int(diagnosis.has_errors)


def build_parser() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", metavar="NAME-or-FOLDER")
    parser.add_argument("--output", type=Path, help="where the report goes; default: output/check_dataset/<name>")
    parser.add_argument("--ignore-value", type=int, default=255, help="the id that does not count, of a FOLDER")
    parser.add_argument("--num-images", type=positive, default=12, help="overlays on the contact sheet")
    parser.add_argument("--workers", type=positive, default=os.cpu_count(), help="threads that read files")
    target = parser.add_mutually_exclusive_group()
    target.add_argument("--convert-colors", type=Path, metavar="NEW_FOLDER", help="write all label maps as ids there")
    target.add_argument("--convert-in-place", action="store_true", help="replace coloured label maps by their ids")
    parser.add_argument("--palette", type=Path, help="a JSON list of names and colours; default: the classes' colours")
    parser.add_argument("--unlisted-as-ignored", action="store_true", help="other colours become the ignore value")
    return parser


def default_output(target: str) -> Path:
    """A folder named like the data set."""
    name = Path(target).resolve().name if Path(target).is_dir() else target
    return Path("output", "check_dataset", name)


def write_report(diagnosis: Diagnosis, output: Path, num_images: int) -> list[Path]:
    """Write report and pictures; the files that were written."""
    report, histogram, sheet = (output / name for name in ("report.json", "histogram.png", "contact_sheet.png"))
    atomic_write_text(report, json.dumps(as_json(diagnosis), indent=1) + "\n")
    draw_histogram(diagnosis, histogram)
    sheet.unlink(missing_ok=True)  # of an earlier run, where nothing can be drawn now
    has_sheet = draw_samples(diagnosis, sheet, num_images=num_images)
    return [report, histogram, *([sheet] if has_sheet else [])]


def convert(diagnosis: Diagnosis, args: argparse.Namespace) -> None:
    """Convert coloured label maps as the options say."""
    subject = diagnosis.subject
    options = {"unlisted_as_ignored": args.unlisted_as_ignored}
    if args.palette:
        palette = read_palette(args.palette, subject.classes, subject.ignore_value, **options)
    else:
        palette = palette_of(subject.classes, subject.ignore_value, **options)
    if args.convert_in_place:
        converted = convert_in_place(diagnosis, palette)
        print(f"{len(converted)} label maps replaced by their ids")
    else:
        converted = convert_to_folder(diagnosis, palette, args.convert_colors)
        print(f"{len(converted)} label maps converted; {args.convert_colors} holds all of them")


if __name__ == "__main__":
    sys.exit(main())
