"""Check a dataset before training on it, and convert colours or other ids in its label maps to class ids.

    check_dataset.py NAME-or-FOLDER [--output FOLDER]
    check_dataset.py hf:PATH:SPLIT[,SPLIT] [--hf-columns IMAGES LABELS] [--hf-classes FILE] [--hf-reduce-labels]
    check_dataset.py NAME-or-FOLDER --measure-channels NEW_CONFIG.yaml [--base CONFIG.yaml]
    check_dataset.py FOLDER --convert-to NEW_FOLDER [--palette FILE] [--unlisted-as-ignored] [--map-ids RULE]

FOLDER contains images/{train,val}, annotations/{train,val} and classes.txt or classes.json. NAME is a registered
dataset, or the common first part of several names. Writes report.json, histogram.png and contact_sheet.png. The exit
code is 1 if errors were found, after a conversion in its result.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import segvit.data  # noqa: F401  (registers the datasets)
from segvit.cli_errors import positive, user_errors
from segvit.command_line.parser import CommandParser
from segvit.dataset_tools.channel_statistics import form_of, measure_channels, write_channel_config
from segvit.dataset_tools.conversion import (
    Converter,
    IdMapping,
    convert_in_place,
    convert_label_maps,
    convert_to_dataset,
    palette_of,
    parse_id_mapping,
    read_palette,
)
from segvit.dataset_tools.doctor import (
    DatasetReport,
    as_json,
    check_dataset,
    describe,
    draw_histogram,
    draw_samples,
    open_dataset,
)
from segvit.dataset_tools.doctor.arguments import add_hugging_face_options, add_image_options, open_target
from segvit.dataset_tools.doctor.checked_dataset import CheckedDataset
from segvit.dataset_tools.parallel import available_cpus
from segvit.datasets.hugging_face import PREFIX
from segvit.datasets.registration import sem_seg_names
from segvit.errors import UserError
from segvit.images import ImageFormat
from segvit.output_files import atomic_write_text, require_folder

# On the contact sheet.
NUM_IMAGES = 12


@user_errors()
def main(argv: Sequence[str] | None = None) -> int:
    """Check, report and convert. Returns the exit code."""
    args = build_parser().parse_args(argv)
    require_read_options(args)
    dataset = open_target(args)
    if args.measure_channels:
        return write_channels(dataset, args)
    args.channels, args.levels = args.channels or 3, args.levels or "8bit"
    output = args.output or default_output(args.target)
    require_folder(output, origin="--output")
    images = ImageFormat(
        channels=args.channels, levels=args.levels, max_level=args.max_level, fill=args.channels * (0.0,)
    )
    report = check_dataset(dataset, workers=args.workers, image_format=images)
    print(describe(report))
    paths = write_report(report, output, args.num_images, images)
    result = convert(report, args)
    if result:
        converted = open_dataset(str(result), ignore_value=args.ignore_value)
        report = check_dataset(converted, workers=args.workers, image_format=images)
        print(f"after the conversion: {describe(report)}")
        paths = write_report(report, output, args.num_images, images)
    for path in paths:
        print(path)
    return int(report.has_errors and not args.convert_colors)


def build_parser() -> CommandParser:
    """The command-line options."""
    parser = CommandParser(description=__doc__)
    parser.add_argument("target", metavar="NAME-or-FOLDER", help="a registered dataset or a folder, see above")
    parser.add_argument(
        "--output", type=Path, metavar="FOLDER", help="folder of the report (default: output/check_dataset/<name>)"
    )
    parser.add_argument(
        "--ignore-value", type=int, metavar="ID", help="the id of ignored pixels in a FOLDER (default: 255)"
    )
    parser.add_argument(
        "--num-images", type=positive, metavar="N", help=f"images on the contact sheet (default: {NUM_IMAGES})"
    )
    parser.add_argument(
        "--workers",
        type=positive,
        default=available_cpus(),
        metavar="N",
        help="threads that read files (default: %(default)s)",
    )
    add_image_options(parser)
    add_hugging_face_options(parser)
    parser.add_argument(
        "--base", type=Path, metavar="CONFIG", help="the _BASE_ of the config of --measure-channels (default: none)"
    )
    target = parser.add_mutually_exclusive_group()
    target.add_argument(
        "--measure-channels",
        type=Path,
        metavar="NEW_CONFIG",
        help="write INPUT.CHANNELS, INPUT.LEVELS, MODEL.PIXEL_MEAN and MODEL.PIXEL_STD of the data as a YAML config "
        "(default: no config)",
    )
    target.add_argument(
        "--convert-to", type=Path, metavar="NEW_FOLDER", help="write a new dataset folder with all label maps as ids"
    )
    target.add_argument(
        "--convert-colors", type=Path, metavar="NEW_FOLDER", help="write the label maps alone, as ids, to a new folder"
    )
    target.add_argument("--convert-in-place", action="store_true", help="replace the label maps by their ids")
    parser.add_argument(
        "--palette",
        type=Path,
        metavar="FILE",
        help="JSON list of class names and colours (default: the colours in classes.json)",
    )
    parser.add_argument(
        "--unlisted-as-ignored",
        action="store_true",
        help="convert colours outside the palette to the ignore value (default: refuse)",
    )
    parser.add_argument(
        "--map-ids",
        metavar="RULE",
        help="also convert ids: OLD=NEW,... such as 255=1 (binary masks) or 0=ignore,1=0; from-one: 0 is void and ids "
        "start at 1",
    )
    return parser


def write_channels(dataset: CheckedDataset, args: argparse.Namespace) -> int:
    """Measure the channels of the first split, train, and write them as a config. Returns the exit code."""
    if args.base is not None and not args.base.is_file():
        raise UserError(f"--base {args.base}: there is no such file")
    paths = [pair.image for pair in dataset.splits[0].pairs]
    if not paths:
        raise UserError(f"{args.target}: split {dataset.splits[0].name} has no pair of image and label map")
    images = replace(form_of(paths[0], args.channels, args.levels), max_level=args.max_level)
    statistics = measure_channels(paths, images)
    print(f"{dataset.splits[0].name}: {len(paths)} images\n{statistics.describe()}")
    write_channel_config(args.measure_channels, statistics, images, base=args.base)
    print(args.measure_channels)
    return 0


def require_read_options(args: argparse.Namespace) -> None:
    """Raise UserError for an option that nothing would read; set the defaults of the others."""
    if args.ignore_value is not None and args.target in sem_seg_names():
        raise UserError(f"--ignore-value {args.ignore_value} is for folders: dataset {args.target!r} defines its own")
    args.ignore_value = 255 if args.ignore_value is None else args.ignore_value
    converts = args.convert_to or args.convert_colors or args.convert_in_place
    is_hf = args.target.startswith(PREFIX)
    if converts and is_hf:
        raise UserError(f"{args.target}: its label maps are in tables, which are not converted: convert folders")
    for option in () if is_hf else ("hf_columns", "hf_classes", "hf_reduce_labels"):
        if getattr(args, option):
            raise UserError(f"--{option.replace('_', '-')} is for datasets hf:PATH:SPLIT")
    for option in () if converts else ("map_ids", "palette", "unlisted_as_ignored"):
        if getattr(args, option):
            raise UserError(f"--{option.replace('_', '-')} needs --convert-to NEW_FOLDER or --convert-in-place")
    if args.base is not None and not args.measure_channels:
        raise UserError(f"--base {args.base} needs --measure-channels NEW_CONFIG, the config to write")
    for option in ("output", "num_images") if args.measure_channels else ():
        if getattr(args, option) is not None:
            raise UserError(f"--{option.replace('_', '-')} is for the report, which --measure-channels does not write")
    args.num_images = args.num_images or NUM_IMAGES


def default_output(target: str) -> Path:
    """A folder with the name of the dataset."""
    name = Path(target).resolve().name if Path(target).is_dir() else target.rpartition("/")[2].replace(":", "_")
    return Path("output", "check_dataset", name)


def write_report(report: DatasetReport, output: Path, num_images: int, image_format: ImageFormat) -> list[Path]:
    """Write report.json and the figures. Returns the written files."""
    json_file, histogram, sheet = (output / name for name in ("report.json", "histogram.png", "contact_sheet.png"))
    atomic_write_text(json_file, json.dumps(as_json(report), indent=1) + "\n")
    draw_histogram(report, histogram)
    sheet.unlink(missing_ok=True)  # from an earlier run, in case no image can be drawn now
    has_sheet = draw_samples(report, sheet, num_images=num_images, image_format=image_format)
    return [json_file, histogram, *([sheet] if has_sheet else [])]


def convert(report: DatasetReport, args: argparse.Namespace) -> Path | None:
    """Convert label maps if an option of `args` requires it. Returns the folder to check again, if any."""
    if not (args.convert_to or args.convert_colors or args.convert_in_place):
        return None
    classes, ignore_value = report.dataset.classes, report.dataset.ignore_value
    if args.palette:
        palette = read_palette(args.palette, classes, ignore_value, unlisted_as_ignored=args.unlisted_as_ignored)
    else:
        palette = palette_of(classes, ignore_value, unlisted_as_ignored=args.unlisted_as_ignored)
    mapping = IdMapping()
    if args.map_ids:
        mapping = parse_id_mapping(args.map_ids, num_classes=len(classes.names), ignore_value=ignore_value)
    converter = Converter(palette, mapping)
    if args.convert_in_place:
        print(f"{convert_in_place(report, converter)} label maps replaced by their ids")
        return Path(args.target)
    if args.convert_to:
        count = convert_to_dataset(report, converter, args.convert_to)
        print(f"{count} label maps converted; train with DATASETS.FOLDER {args.convert_to}")
        return args.convert_to
    count = convert_label_maps(report, converter, args.convert_colors)
    print(f"{count} label maps converted; {args.convert_colors} contains all of them")
    return None


if __name__ == "__main__":
    sys.exit(main())
