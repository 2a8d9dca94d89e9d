"""Convert a checkpoint of the official SegViT v1 release to ours, or back: plain ATM and Shrunk heads.

    python projects/SegViT/tools/convert_official_checkpoint.py IN OUT [--to-official] [--config-file F] [--overwrite]

With a config the checkpoint is checked against the config's model first. No code from the file is run, every key is
accounted for, and OUT appears only once it is complete.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from torch import nn

from segvit.analysis.from_config import build_random_model
from segvit.cli_errors import user_errors
from segvit.d2 import load_config
from segvit.errors import UserError
from segvit.modeling.weights.official_checkpoint import (
    from_official,
    require_fit,
    save_atomically,
    sizes_of,
    to_official,
)
from segvit.modeling.weights.weight_files import read_weight_file

# What Detectron2 saves beside the model has no place in an official checkpoint.
KEPT = {"model", "official"}


@user_errors()
def main(argv: Sequence[str] | None = None) -> None:
    """Read, check, convert, write and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("input", type=Path, metavar="IN")
    parser.add_argument("output", type=Path, metavar="OUT")
    parser.add_argument("--to-official", action="store_true", help="IN is ours, OUT becomes official")
    parser.add_argument("--config-file", type=Path, help="refuse a checkpoint that this config's model cannot load")
    parser.add_argument("--overwrite", action="store_true", help="replace OUT where it exists")
    args = parser.parse_args(argv)
    if args.output.exists() and not args.overwrite:
        raise UserError(f"{args.output} exists; --overwrite replaces it")
    convert(args)


def convert(args: argparse.Namespace) -> None:
    """Convert as the arguments say. Raises UserError or OSError with the reason."""
    content = read_weight_file(args.input)
    ours = content if args.to_official else from_official(content)
    converted = to_official(content) if args.to_official else ours
    if args.config_file:
        model = build_random_model(load_config(args.config_file), device="meta")
        require_fit(ours["model"], model.state_dict())
        require_official_forward(model)
    save_atomically(converted, args.output, overwrite=args.overwrite)
    left_out = sorted(map(str, content.keys() - KEPT)) if args.to_official else []
    print(f"{args.output}: {sizes_of(ours['model']).describe()}")
    if left_out:
        print(f"left out, for the official format has no place for it: {', '.join(left_out)}")


def require_official_forward(model: nn.Module) -> None:
    """Refuse a config whose model has the official tensors and yet computes something else with them.

    Raises:
        UserError: naming the key.
    """
    encoder = model.backbone.encoder
    if encoder.embedding.num_prefix_tokens:
        raise UserError("the official release drops the class token: set MODEL.VIT.KEEP_PREFIX_TOKENS False")
    is_shrunk = sizes_of(model.state_dict()).head == "Shrunk"
    if is_shrunk != (encoder.reduction is not None):
        wanted = "shrunk" if is_shrunk else "none"
        raise UserError(f"the head asks for MODEL.VIT.REDUCTION {wanted!r}, the config says otherwise")


if __name__ == "__main__":
    main()
