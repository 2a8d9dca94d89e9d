"""Convert a checkpoint of the official SegViT v1 release to ours, or back; for ATM and Shrunk heads.

    python projects/SegViT/tools/convert_official_checkpoint.py IN --output OUT [--to-official]
        [--config-file FILE_OR_NAME] [--overwrite] [KEY VALUE ...]

With --config-file, the checkpoint is first checked against the config's model. Code in the file is never run, a key
without a counterpart is an error, and OUT is written atomically.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from segvit.analysis.from_config import build_random_model
from segvit.cli_errors import user_errors
from segvit.command_line.parser import CommandParser, add_output, parse_with_output
from segvit.config.loading import find_config
from segvit.d2 import load_config
from segvit.errors import UserError
from segvit.modeling.weights.official_checkpoint import from_official, require_fit, sizes_of, to_official
from segvit.modeling.weights.weight_files import read_weight_file, require_finite
from segvit.output_files import atomic_write

# Entries of our checkpoints that have a counterpart in official ones; those of Detectron2's trainer have none.
CONVERTED_ENTRIES = {"model", "official"}


def build_parser() -> CommandParser:
    """The arguments of the command."""
    parser = CommandParser(description=__doc__)
    parser.add_argument("input", type=Path, metavar="IN", help="the checkpoint to convert")
    add_output(parser, "the checkpoint to write", former="former_output", metavar="FILE")
    parser.add_argument(
        "--to-official",
        action="store_true",
        help="convert our checkpoint to the official format (default: the other way)",
    )
    parser.add_argument(
        "--config-file",
        metavar="FILE_OR_NAME",
        help="check the checkpoint against the model of this config (default: no check)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an existing file (default: refuse)")
    parser.add_overrides()
    return parser


@user_errors()
def main(argv: Sequence[str] | None = None) -> None:
    """Read, check, convert, write and report."""
    args = parse_with_output(build_parser(), argv, former="former_output")
    if args.opts and not args.config_file:
        raise UserError(f"{args.opts[0]} changes the config of --config-file: name one")
    if args.output.exists() and not args.overwrite:
        raise UserError(f"{args.output} exists; --overwrite replaces it")
    convert(args)


def convert(args: argparse.Namespace) -> None:
    """Convert `args.input` to `args.output`. Raises UserError or OSError with the reason."""
    # Convert, and check against the config.
    content = read_weight_file(args.input)
    our_checkpoint = content if args.to_official else from_official(content)
    converted = to_official(content) if args.to_official else our_checkpoint
    require_finite(our_checkpoint["model"], args.input)
    if args.config_file:
        model = build_random_model(load_config(find_config(args.config_file), args.opts), device="meta")
        require_fit(our_checkpoint["model"], model.state_dict())
        require_official_forward(model)

    # Write and report.
    with atomic_write(args.output) as temporary:
        torch.save(converted, temporary)
    print(f"{args.output}: {sizes_of(our_checkpoint['model']).describe()}")
    omitted = sorted(map(str, content.keys() - CONVERTED_ENTRIES)) if args.to_official else []
    if omitted:
        print(f"left out, because the official format has no place for it: {', '.join(omitted)}")


def require_official_forward(model: nn.Module) -> None:
    """Refuse a config whose model has the official tensors but computes something else with them.

    Raises:
        UserError: naming the key.
    """
    encoder = model.backbone.encoder
    if encoder.embedding.num_prefix_tokens:
        raise UserError("the official release drops the class token: set MODEL.VIT.KEEP_PREFIX_TOKENS False")
    is_shrunk = sizes_of(model.state_dict()).head == "Shrunk"
    if is_shrunk != (encoder.reduction is not None):
        reduction = "shrunk" if is_shrunk else "none"
        raise UserError(f"the checkpoint's head needs MODEL.VIT.REDUCTION {reduction!r}, but the config sets another")


if __name__ == "__main__":
    main()
