"""Pack a checkpoint into a model folder: config, weights, classes, metrics and card, readable without Detectron2.

    python projects/SegViT/pack_model.py CHECKPOINT --output FOLDER [--config-file FILE_OR_NAME] [KEY VALUE ...]

A run writes its folder, OUTPUT_DIR/model, by itself. Checkpoints of older versions and converted official ones hold no
config: name it by --config-file. Names and colours of the classes come from the checkpoint and the config's datasets.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from segvit.cli_errors import user_errors
from segvit.command_line.parser import CommandParser, add_output, parse_with_output
from segvit.config.loading import find_config
from segvit.d2 import load_config
from segvit.errors import UserError
from segvit.inference.loaded_model import load_folder
from segvit.model_folder.packing import pack_checkpoint


def build_parser() -> CommandParser:
    """The arguments of the command."""
    parser = CommandParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path, metavar="CHECKPOINT", help="the file to pack")
    add_output(parser, "the model folder to write", former="folder")
    parser.add_argument(
        "--config-file",
        metavar="FILE_OR_NAME",
        help="the config of its run, a YAML file or the name of a shipped config (default: what the checkpoint holds)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an existing model folder (default: refuse)")
    parser.add_overrides()
    return parser


@user_errors()
def main(argv: Sequence[str] | None = None) -> None:
    """Read the checkpoint, write the folder, and load it once as a check."""
    args = parse_with_output(build_parser(), argv, former="folder")
    if args.output.exists() and not args.overwrite:
        raise UserError(f"{args.output} exists; --overwrite replaces it")
    if args.opts and not args.config_file:
        raise UserError(f"{args.opts[0]} changes the config of --config-file: name one")
    cfg = load_config(find_config(args.config_file), args.opts) if args.config_file else None
    folder = pack_checkpoint(args.checkpoint, args.output, cfg=cfg)
    loaded = load_folder(folder)
    print(f"{folder}: {len(loaded.classes.names)} classes, {', '.join(loaded.classes.names)}")


if __name__ == "__main__":
    main()
