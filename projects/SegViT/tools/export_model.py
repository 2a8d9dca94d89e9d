"""Export a trained model to one file that runs without this project, checked against the model before it appears.

    python projects/SegViT/tools/export_model.py --config-file F --format onnx --output FILE MODEL.WEIGHTS W

The file takes raw images (B, 3, H, W), uint8, and gives scores (B, K, H, W) or labels (B, H, W); B is dynamic always,
H and W are unless --static is given. With --pictures the file and the model are also compared and timed on those, one
at a time and by turns, on the CPU.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import torch

from segvit.analysis.machine import machine_name
from segvit.cli_errors import positive, user_errors
from segvit.d2 import load_config
from segvit.errors import UserError
from segvit.export import (
    FORMATS,
    Agreement,
    Comparison,
    ExportError,
    ExportSource,
    ImageSize,
    compare_on_pictures,
    load_source,
    read_pictures,
    require_agreement,
)
from segvit.inference.sources import find_sources
from segvit.output_files import atomic_write


@user_errors()
def main() -> None:
    """Load, export, check and only then put the file in its place."""
    args = parse_arguments()
    require_new_file(args)
    paths = find_pictures(args.pictures)
    if args.threads:
        torch.set_num_threads(args.threads)
    cfg = load_config(args.config_file, args.opts)
    source = load_source(cfg)
    height, width = args.input_size or cfg.MODEL.VIT.IMG_SIZE
    size = ImageSize(height, width, is_dynamic=not args.static, patch_size=source.patch_size)
    pictures = read_pictures(paths, cfg, size)
    print(f"exporting to {args.format}, which takes a minute for a large model ...", flush=True)
    agreement, comparison = export(source, size, pictures, args)
    print(f"{args.output}: {args.output.stat().st_size / 1e6:.1f} MB; {agreement.describe()}")
    if comparison is not None:
        print(f"{comparison.describe()} ({machine_name(torch.device('cpu'))}, {torch.get_num_threads()} threads)")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config-file", type=Path, required=True, help="a YAML config")
    parser.add_argument("--format", choices=sorted(FORMATS), required=True)
    parser.add_argument("--output", type=Path, required=True, help="the file to write: .onnx, .pt2 or .pt")
    parser.add_argument("--result", choices=("scores", "labels"), default="scores")
    parser.add_argument("--static", action="store_true", help="images of one size alone: faster where it is known")
    parser.add_argument("--input-size", nargs=2, type=positive, metavar=("H", "W"), help="default: MODEL.VIT.IMG_SIZE")
    parser.add_argument("--overwrite", action="store_true", help="replace the file where it exists")
    parser.add_argument("--pictures", nargs="+", type=Path, default=[], metavar="PATH", help="files or folders")
    parser.add_argument("--rounds", type=positive, default=3, help="how often each picture is timed")
    parser.add_argument("--threads", type=positive, help="CPU threads; default: PyTorch's own choice")
    parser.add_argument("opts", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="overrides such as MODEL.WEIGHTS F")
    return parser.parse_args()


def require_new_file(args: argparse.Namespace) -> None:
    """Raise UserError where the file exists or has another format's extension."""
    extension = FORMATS[args.format].extension
    if args.output.suffix != extension:
        raise UserError(f"--output {args.output}: files of --format {args.format} end in {extension}")
    if args.output.exists() and not args.overwrite:
        raise UserError(f"--output {args.output} exists; --overwrite replaces it")


def find_pictures(inputs: Sequence[Path]) -> list[Path]:
    """The files, and those of the folders. Raises UserError where one is missing or a video."""
    for path in inputs:
        if not path.exists():
            raise UserError(f"--pictures: no such file: {path} (KEY VALUE pairs stand behind another option)")
    sources = find_sources(inputs)
    for source in sources:
        if source.is_video:
            raise UserError(f"--pictures: {source.path} is a video: give pictures")
    return [source.path for source in sources]


def export(
    source: ExportSource, size: ImageSize, pictures: Sequence[torch.Tensor], args: argparse.Namespace
) -> tuple[Agreement, Comparison | None]:
    """Write the file and check it; after an error none is left. Raises ExportError."""
    chosen, segmenter = FORMATS[args.format], source.segmenter(gives_labels=args.result == "labels")
    metadata = {**source.metadata, "result": json.dumps(args.result)}
    with atomic_write(args.output) as unfinished:
        try:
            chosen.write(segmenter, size, metadata, unfinished)
        except (torch.onnx.errors.OnnxExporterError, RuntimeError, ValueError) as error:
            remedy = "" if args.static else "; --static exports it for one size of images"
            raise ExportError(f"this model cannot be exported to {args.format} like this{remedy}: {error}") from error
        run = chosen.read(unfinished)
        agreement = require_agreement(run, source.model, size)
        comparison = compare_on_pictures(run, source.model, pictures, rounds=args.rounds) if pictures else None
        return agreement, comparison


if __name__ == "__main__":
    main()
