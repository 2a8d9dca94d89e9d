"""Export a trained model to one file that runs without this project, and check the file against the model.

    python projects/SegViT/tools/export_model.py --model FOLDER_OR_NAME --format onnx --output FILE

The file takes raw images (B, C, H, W), uint8 or, by INPUT.LEVELS, float32, and returns scores (B, K, H, W) or labels
(B, H, W). B is always dynamic; H and W are dynamic unless --static is given. With --images the file and the model are
also compared on these images and timed alternately, on the CPU. The file appears only after it has passed the check.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import torch
from detectron2.config import CfgNode

from segvit.analysis.timing import machine_name
from segvit.cli_errors import positive, share, user_errors
from segvit.command_line.model_arguments import add_trained_model, trained_config
from segvit.command_line.parser import CommandParser
from segvit.errors import UserError
from segvit.export import (
    FLOAT32,
    FORMATS,
    PRECISIONS,
    RUNS,
    Agreement,
    Comparison,
    ExportError,
    ExportSource,
    ImageSize,
    Limits,
    compare_on_images,
    label_maps,
    load_source,
    mean_iou,
    read_images,
    require_agreement,
    require_precision,
    write_precision,
)
from segvit.images import image_format_of
from segvit.inference.sources import Sources
from segvit.output_files import atomic_write, require_folder

# Timed rounds over the images.
ROUNDS = 3
# Labels of an image that a file in a lower precision keeps.
MIN_AGREEMENT = 0.9


@user_errors()
def main(argv: Sequence[str] | None = None) -> None:
    """Load the model, export it and print how well the file agrees."""
    args = build_parser().parse_args(argv)
    require_read_options(args)
    require_new_file(args)
    paths = find_images(args.images, "--images")
    calibration_paths = find_images(args.calibration_images, "--calibration-images")
    truths = label_maps(paths, args.labels)
    if args.threads:
        torch.set_num_threads(args.threads)
    cfg = trained_config(args)
    source = load_source(cfg)
    height, width = args.input_size or cfg.MODEL.VIT.IMG_SIZE
    image_format = image_format_of(cfg)
    size = ImageSize(
        height,
        width,
        is_dynamic=not args.static,
        patch_size=source.patch_size,
        has_cells=source.has_cells,
        channels=image_format.channels,
        dtype=torch.from_numpy(np.empty(0, image_format.dtype)).dtype,
    )
    images = read_images(paths, cfg, size)
    calibration = read_images(calibration_paths, cfg, size)
    require_precision(args.precision, args.format, calibration)
    print(f"exporting to {args.format}, which takes a minute for a large model ...", flush=True)
    agreement, comparison = export(source, size, images, args, calibration)
    megabytes = sum(file.stat().st_size for file in written_files(args)) / 1e6
    print(f"{args.output}: {megabytes:.1f} MB; {agreement.describe()}")
    if comparison is not None:
        print(f"{comparison.describe()} ({machine_name(torch.device('cpu'))}, {torch.get_num_threads()} threads)")
    elif args.precision != "float32":
        print(f"{args.precision} was not compared with the model: --images compares their labels")
    if truths:
        print_mean_iou(source, truths, images, cfg, args)


def build_parser() -> CommandParser:
    """The arguments of the command."""
    parser = CommandParser(description=__doc__, former={"--pictures": "--images"})
    add_trained_model(parser)
    parser.add_argument("--format", choices=sorted(FORMATS), required=True, help="the format of the file")
    parser.add_argument(
        "--output", type=Path, required=True, metavar="FILE", help="the file to write: .onnx, .xml, .pt2 or .pt"
    )
    parser.add_argument(
        "--result", choices=("scores", "labels"), default="scores", help="what the file returns (default: scores)"
    )
    parser.add_argument(
        "--precision", choices=sorted(PRECISIONS), default="float32", help="the number format (default: float32)"
    )
    parser.add_argument(
        "--calibration-images",
        nargs="+",
        type=Path,
        default=[],
        metavar="PATH",
        help="images, and folders of them, on which the ranges of int8 are measured (default: none)",
    )
    parser.add_argument(
        "--min-agreement",
        type=share,
        metavar="X",
        help=f"labels of each of --images that a lower precision must keep, 0 to 1 (default: {MIN_AGREEMENT})",
    )
    parser.add_argument("--static", action="store_true", help="accept one image size only; often faster (default: any)")
    parser.add_argument(
        "--input-size",
        nargs=2,
        type=positive,
        metavar=("H", "W"),
        help="size of the traced image (default: MODEL.VIT.IMG_SIZE)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an existing file (default: refuse)")
    parser.add_argument(
        "--images",
        nargs="+",
        type=Path,
        default=[],
        metavar="PATH",
        help="images, and folders of them, on which file and model are compared and timed (default: none)",
    )
    parser.add_argument("--rounds", type=positive, metavar="N", help=f"timed rounds over --images (default: {ROUNDS})")
    parser.add_argument(
        "--labels", type=Path, metavar="FOLDER", help="label maps of --images, for their mIoU (default: none)"
    )
    parser.add_argument("--threads", type=positive, metavar="N", help="CPU threads (default: PyTorch's choice)")
    parser.add_overrides(
        device="models are exported and compared on the CPU",
        unread={
            "TEST.PRECISION": "--precision is that of the file",
            "TEST.LABELS_ONLY": "--result labels writes a file that returns labels",
            "MODEL.COMPILE": "files are graphs already",
        },
    )
    return parser


def require_read_options(args: argparse.Namespace) -> None:
    """Raise UserError for an option that nothing would read."""
    for option in () if args.images else ("rounds", "labels", "min_agreement"):
        if getattr(args, option) is not None:
            raise UserError(f"--{option.replace('_', '-')} needs --images, the images to compare file and model on")
    if args.min_agreement is not None and args.precision == "float32":
        raise UserError("--min-agreement is for a lower --precision: files in float32 must keep 99.9 % of the labels")
    if args.calibration_images and args.precision != "int8":
        raise UserError(f"--calibration-images are for --precision int8: --precision {args.precision} needs none")


def written_files(args: argparse.Namespace) -> list[Path]:
    """The file of --output, and the weights of an OpenVINO file beside it."""
    return [args.output, *([args.output.with_suffix(".bin")] if args.format == "openvino" else [])]


def require_new_file(args: argparse.Namespace) -> None:
    """Raise UserError if a file exists or cannot be written, or has the extension of another format."""
    extension = FORMATS[args.format].extension
    if args.output.suffix != extension:
        raise UserError(f"--output {args.output}: files of --format {args.format} end in {extension}")
    require_folder(args.output.parent, origin="--output")
    for path in written_files(args):
        if path.is_dir():
            raise UserError(f"--output {args.output}: {path} is a folder; choose another name")
        if path.exists() and not args.overwrite:
            raise UserError(f"--output {args.output}: {path} exists; --overwrite replaces it")


def find_images(inputs: Sequence[Path], option: str) -> list[Path]:
    """The image files of an option and in its folders. Raises UserError if one is missing or is a video."""
    for path in inputs:
        if not path.exists():
            raise UserError(f"{option}: no such file: {path}")
    sources = Sources(inputs)
    for source in sources:
        if source.is_video:
            raise UserError(f"{option}: {source.path} is a video: name images")
    return [source.path for source in sources]


def export(
    source: ExportSource,
    size: ImageSize,
    images: Sequence[torch.Tensor],
    args: argparse.Namespace,
    calibration: Sequence[torch.Tensor],
) -> tuple[Agreement, Comparison | None]:
    """Write the file and check it; an error leaves no file. Raises ExportError."""
    chosen = FORMATS[args.format]
    segmenter = source.segmenter(gives_labels=args.result == "labels")
    metadata = {**source.metadata, "result": json.dumps(args.result), "precision": json.dumps(args.precision)}
    if size.is_dynamic:
        metadata["smallest_side"] = json.dumps(size.smallest)
    is_exact = args.precision == "float32"
    with ExitStack() as unfinished_files:
        # Of OpenVINO's two files the weights, which come last here, get their name first.
        unfinished, *_ = [unfinished_files.enter_context(atomic_write(path)) for path in written_files(args)]
        try:
            if is_exact:
                chosen.write(segmenter, size, metadata, unfinished)
            else:
                write_precision(segmenter, size, metadata, unfinished, precision=args.precision, images=calibration)
        except (torch.onnx.errors.OnnxExporterError, RuntimeError, ValueError) as error:
            remedy = "" if args.static else "; --static exports it for one size of images"
            raise ExportError(f"cannot export this model to {args.format}{remedy}: {error}") from error
        run = chosen.read(unfinished)
        agreement = require_agreement(run, source.model, size, limits=FLOAT32 if is_exact else RUNS)
        lowest = MIN_AGREEMENT if args.min_agreement is None else args.min_agreement
        limits = FLOAT32 if is_exact else Limits(labels=lowest, scores=math.inf)
        comparison = None
        if images:
            comparison = compare_on_images(run, source.model, images, rounds=args.rounds or ROUNDS, limits=limits)
        if args.format == "openvino":
            args.output.unlink(missing_ok=True)  # if this process is killed now, no old graph has the new weights
        return agreement, comparison


def print_mean_iou(
    source: ExportSource, truths: Sequence[Path], images: Sequence[torch.Tensor], cfg: CfgNode, args: argparse.Namespace
) -> None:
    """Print the mIoU of model and file on the label map of each image."""
    file = mean_iou(FORMATS[args.format].read(args.output), images, truths, cfg)
    model = mean_iou(source.segmenter(gives_labels=False), images, truths, cfg)
    whole = " (whole images; the model is evaluated by windows)" if cfg.TEST.WINDOW.ENABLED else ""
    print(f"mIoU {file:.2f} against {model:.2f} of the model, {file - model:+.2f}{whole}")


if __name__ == "__main__":
    main()
