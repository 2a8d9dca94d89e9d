"""`--model`, `--config-file`, `--weights` and `--opts` of commands that predict, and the predictor that they name."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from segvit.config.loading import find_config, load_config, pairs_of
from segvit.errors import UserError
from segvit.inference.loaded_model import load_checkpoint, load_folder
from segvit.inference.predictor import SegViTPredictor
from segvit.model_folder.loading import default_device


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that name the model; `--opts` follows at the end (`add_overrides`)."""
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--model",
        type=Path,
        metavar="FOLDER",
        help="the model folder, such as OUTPUT_DIR/model of a run (default: --config-file and --weights)",
    )
    source.add_argument("--config-file", metavar="FILE", help="the config, a YAML file or the name of a shipped config")
    parser.add_argument("--weights", type=Path, metavar="FILE", help="the checkpoint (default: MODEL.WEIGHTS)")


def add_overrides(parser: argparse.ArgumentParser) -> None:
    """Add `--opts`, which takes the rest of the command line."""
    parser.add_argument(
        "--opts",
        nargs=argparse.REMAINDER,
        default=[],
        help="config overrides as KEY VALUE pairs, such as MODEL.WEIGHTS FILE; must come last",
    )


def predictor_of(
    args: argparse.Namespace,
    *,
    opts: Sequence[Any] = (),
    place: Callable[[str], str] = str,
    array_format: str = "BGR",
) -> SegViTPredictor:
    """The predictor of a command line.

    Args:
        args: with the options of this file.
        opts: KEY VALUE pairs that come after those of the user.
        place: the device of this process for MODEL.DEVICE.
        array_format: see `SegViTPredictor`.

    Raises:
        UserError: see `SegViTPredictor`; --model and --weights are given.
    """
    opts = [*args.opts, *opts]
    if args.model is None:
        cfg = load_config(find_config(args.config_file), opts)
        cfg.defrost()
        cfg.MODEL.DEVICE = place(cfg.MODEL.DEVICE)
        return SegViTPredictor.of(load_checkpoint(cfg, args.weights), array_format=array_format)
    if args.weights is not None:
        raise UserError(f"--model {args.model} has weights: leave out --weights")
    if len(opts) % 2:
        raise UserError(f"overrides are KEY VALUE pairs: {opts[-1]} has no value")
    device = place(str(pairs_of(opts).get("MODEL.DEVICE", default_device())))
    return SegViTPredictor.of(load_folder(args.model, [*opts, "MODEL.DEVICE", device]), array_format=array_format)
