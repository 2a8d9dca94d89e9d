"""Turn what an annotation tool exports into a folder for DATASETS.FOLDER: class ids as PNGs, classes.json, splits.

    import_dataset.py SOURCE TARGET [--format FORMAT]      (or SOURCE --output TARGET)

SOURCE is the folder of an export, or its annotation file: COCO (instances, panoptic, stuff, Roboflow), LabelMe, CVAT
for images, Label Studio, YOLO polygons, PASCAL VOC, masks of colours, of ids or of 0 and 255, or one mask per object.
Splits of SOURCE are kept; images without any are divided, by --val-share, --groups, --folds or --lists. TARGET appears
complete or not at all; TARGET/skipped.txt lists what was left out, and why.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from segvit.cli_errors import from_zero, local_path, positive, user_errors
from segvit.command_line.parser import CommandParser, add_output, parse_with_output
from segvit.dataset_tools.importing import (
    FORMATS,
    IGNORED_NAMES,
    DrawingRules,
    ImportReport,
    ReadOptions,
    Skipped,
    import_source,
    parse_classes,
    plan_classes,
    read_source,
)
from segvit.dataset_tools.parallel import available_cpus
from segvit.dataset_tools.splitting import SplitOptions
from segvit.errors import UserError
from segvit.output_files import require_folder

# How many skipped things are printed; skipped.txt lists all.
MAX_PRINTED = 10


@user_errors()
def main(argv: Sequence[str] | None = None) -> int:
    """Read, draw, write and report. Returns the exit code."""
    args = parse_with_output(build_parser(), argv, former="target", warns=False)
    require_folder(args.output, origin="TARGET")
    if os.path.lexists(args.output):
        raise UserError(f"{args.output} exists: name a new folder, or remove this one first")
    splits = SplitOptions(
        lists=dict(args.lists or []),
        val_share=args.val_share,
        test_share=args.test_share,
        seed=args.seed,
        groups=args.groups,
        folds=args.folds,
    )
    options = ReadOptions(
        images=args.images,
        masks=args.masks,
        mask_suffix=args.mask_suffix,
        class_names=parse_classes(args.classes) if args.classes else (),
        ids=args.ids,
        boxes=args.boxes,
        holes=args.holes,
        unannotated=args.unannotated,
    )
    source = read_source(args.source, options, format=args.format, annotations=args.annotations)
    plan = plan_classes(source, options, unlabelled=args.unlabelled, ignored_names=args.ignored)
    print(f"{args.source}: {source.title}, {len(source.images)} images", flush=True)
    try:
        report = import_source(
            source,
            plan,
            args.output,
            rules=DrawingRules(overlap=args.overlap, crowd=args.crowd),
            splits=splits,
            workers=args.workers,
            drop_unused=args.drop_unused,
        )
    except BrokenProcessPool as error:
        raise UserError("a worker process was killed, perhaps out of memory: --workers 1 needs the least") from error
    print(describe(report, args.output))
    return 0


def build_parser() -> CommandParser:
    """The command-line options."""
    parser = CommandParser(description=__doc__)
    parser.add_argument("source", type=local_path, metavar="SOURCE", help="the export: a folder or an annotation file")
    add_output(parser, "the new folder", former="target")
    parser.add_argument(
        "--workers", type=positive, default=available_cpus(), metavar="N", help="processes (default: %(default)s)"
    )
    add_reading_options(parser.add_argument_group("what to read"))
    add_label_options(parser.add_argument_group("labels"))
    add_split_options(parser.add_argument_group("splits"))
    return parser


def add_reading_options(group: argparse._ArgumentGroup) -> None:
    """Options of readers."""
    group.add_argument("--format", choices=FORMATS, default=FORMATS[0], help="the format (default: found by itself)")
    group.add_argument(
        "--annotations",
        default="",
        metavar="PATTERN",
        help="read only annotation files such as 'instances_*.json' (default: all)",
    )
    group.add_argument(
        "--images", type=local_path, metavar="FOLDER", help="the images, if they are not in SOURCE (default: SOURCE)"
    )
    group.add_argument(
        "--masks", type=local_path, metavar="FOLDER", help="the masks, together with --images (default: none)"
    )
    group.add_argument(
        "--mask-suffix", default="", metavar="TEXT", help="ends the names of masks, such as _gt (default: none)"
    )
    group.add_argument(
        "--unannotated",
        choices=("skip", "background"),
        default="skip",
        help="images without annotation (default: skip)",
    )
    group.add_argument("--boxes", choices=("fill", "skip"), default="", help="boxes (default: as the tool treats them)")
    group.add_argument(
        "--holes",
        action="store_true",
        help="COCO polygons within one of the same object are holes (default: they are filled)",
    )


def add_label_options(group: argparse._ArgumentGroup) -> None:
    """Options of classes and of the drawing."""
    group.add_argument(
        "--classes",
        default="",
        metavar="FILE-or-NAMES",
        help="the classes in order: a file, or names with commas (default: those of the export)",
    )
    group.add_argument(
        "--ids",
        default="",
        metavar="RULE-or-FILE",
        help="ids of masks: from-one (0 is void), such as 0=ignore,7=road, or a file with lines such as: 7 road "
        "(default: as they are)",
    )
    group.add_argument(
        "--ignored",
        nargs="*",
        default=list(IGNORED_NAMES),
        metavar="NAME",
        help=f"classes that become ignored pixels (default: {' '.join(IGNORED_NAMES)})",
    )
    group.add_argument(
        "--unlabelled",
        choices=("background", "ignored"),
        default="",
        help="pixels without an object (default: background; ignored in panoptic files)",
    )
    group.add_argument(
        "--overlap",
        choices=("order", "smaller"),
        default="order",
        help="who wins where objects overlap: the one drawn last, or the smaller one (default: order)",
    )
    group.add_argument(
        "--crowd", choices=("class", "ignored"), default="class", help="crowds of COCO (default: their class)"
    )
    group.add_argument(
        "--drop-unused", action="store_true", help="leave out classes without a pixel (default: keep them)"
    )


def add_split_options(group: argparse._ArgumentGroup) -> None:
    """Options of splits."""
    group.add_argument(
        "--lists",
        type=named_file,
        nargs="+",
        metavar="SPLIT=FILE",
        help="text files with one image name a line (default: none)",
    )
    group.add_argument("--val-share", type=float, metavar="SHARE", help="share of validation images (default: 0.2)")
    group.add_argument("--test-share", type=float, metavar="SHARE", help="share of test images (default: 0)")
    group.add_argument(
        "--groups", default="", metavar="REGEX", help="images of one group stay in one split (default: no groups)"
    )
    group.add_argument(
        "--folds", type=from_zero, default=0, metavar="K", help="write FOLDER/fold1 to FOLDER/foldK (default: no folds)"
    )
    group.add_argument("--seed", type=from_zero, default=0, metavar="N", help="of the division (default: 0)")


def named_file(text: str) -> tuple[str, Path]:
    """The argparse `type` of SPLIT=FILE."""
    split, separator, path = text.partition("=")
    if not separator or not split.isidentifier():
        raise argparse.ArgumentTypeError(f"{text!r} is not SPLIT=FILE, such as train=train.txt")
    return split, local_path(path)


def describe(report: ImportReport, target: Path) -> str:
    """The result: classes, splits, decisions, and what was skipped."""
    total = max(int(report.pixels.sum()), 1)
    lines = [f"  {name}: {100 * count / total:.2f} %" for name, count in zip(report.names, report.pixels)]
    lines.append(f"  ignored: {100 * report.pixels[-1] / total:.2f} %")
    lines += [f"note: {note}" for note in report.notes]
    for folder, sizes in zip(report.folders, report.sizes):
        lines.append(f"{folder}: " + ", ".join(f"{count} {split}" for split, count in sizes.items()))
        lines += [f"note: {folder} has no {split} images" for split in ("train", "val") if split not in sizes]
    if report.skipped:
        lines.append(f"skipped: {len(report.skipped)}, listed in {target / 'skipped.txt'}")
        lines += [f"  {line}" for line in first_of_each_kind(report.skipped)[:MAX_PRINTED]]
    if report.ignore_value != 255:
        lines.append(f"ignored pixels are {report.ignore_value}: set MODEL.SEM_SEG_HEAD.IGNORE_VALUE to it")
    lines.append(f"train with DATASETS.FOLDER {report.folders[0]}; check_dataset.py {report.folders[0]} checks it")
    return "\n".join(lines)


def first_of_each_kind(skipped: Sequence[Skipped]) -> list[str]:
    """One line for all that differ in the image and the share of pixels alone, such as a value without a class."""
    of_kind: dict[tuple[str, str], list[Skipped]] = {}
    for it in skipped:
        of_kind.setdefault((it.what.rpartition(": ")[2], it.why.partition(": ")[0]), []).append(it)
    return [f"{same[0]}{f' (and {len(same) - 1} alike)' if len(same) > 1 else ''}" for same in of_kind.values()]


if __name__ == "__main__":
    sys.exit(main())
