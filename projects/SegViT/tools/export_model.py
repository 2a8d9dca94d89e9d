"""Export a trained model to one file that runs without this project, checked against the model before it appears.

    python projects/SegViT/tools/export_model.py --config-file F --format onnx --output FILE MODEL.WEIGHTS W

The file takes raw images (B, 3, H, W), uint8, and gives scores (B, K, H, W) or labels (B, H, W); B is dynamic always,
H and W are unless --static is given.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch

from segvit.command import positive, user_errors
from segvit.d2 import load_config
from segvit.export import FORMATS, Agreement, ExportError, ExportSource, ImageSize, load_source, require_agreement
from segvit.output_files import written_whole


@user_errors()
def main() -> None:
    """Load, export, check and only then put the file in its place."""
    args = parse_arguments()
    require_new_file(args)
    cfg = load_config(args.config_file, args.opts)
    source = load_source(cfg)
    height, width = args.input_size or cfg.MODEL.VIT.IMG_SIZE
    size = ImageSize(height, width, is_dynamic=not args.static, patch_size=source.patch_size)
    print(f"exporting to {args.format}, which takes a minute for a large model ...", flush=True)
    agreement = export(source, size, args)
    print(f"{args.output}: {args.output.stat().st_size / 1e6:.1f} MB; {agreement.describe()}")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config-file", type=Path, required=True, help="a YAML config")
    parser.add_argument("--format", choices=sorted(FORMATS), required=True)
    parser.add_argument("--output", type=Path, required=True, help="the file to write: .onnx, .pt2 or .pt")
    parser.add_argument("--result", choices=("scores", "labels"), default="scores")
    parser.add_argument("--static", action="store_true", help="images of one size alone: faster where it is known")
    parser.add_argument("--input-size", nargs=2, type=positive, metavar=("H", "W"), help="default: MODEL.VIT.IMG_SIZE")
    parser.add_argument("--overwrite", action="store_true", help="replace the file where it exists")
    parser.add_argument("opts", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="overrides such as MODEL.WEIGHTS F")
    return parser.parse_args()


def require_new_file(args: argparse.Namespace) -> None:
    """Raise ValueError where the file exists or has another format's extension."""
    extension = FORMATS[args.format].extension
    if args.output.suffix != extension:
        raise ValueError(f"--output {args.output}: files of --format {args.format} end in {extension}")
    if args.output.exists() and not args.overwrite:
        raise ValueError(f"--output {args.output} exists; --overwrite replaces it")


def export(source: ExportSource, size: ImageSize, args: argparse.Namespace) -> Agreement:
    """Write the file and check it; after an error none is left. Raises ExportError."""
    chosen, segmenter = FORMATS[args.format], source.segmenter(gives_labels=args.result == "labels")
    metadata = {**source.metadata, "result": json.dumps(args.result)}
    with written_whole(args.output) as unfinished:
        try:
            chosen.write(segmenter, size, metadata, unfinished)
        except (torch.onnx.errors.OnnxExporterError, RuntimeError, ValueError) as error:
            remedy = "" if args.static else "; --static exports it for one size of images"
            raise ExportError(f"this model cannot be exported to {args.format} like this{remedy}: {error}") from error
        return require_agreement(chosen.read(unfinished), source.model, size)


if __name__ == "__main__":
    main()
