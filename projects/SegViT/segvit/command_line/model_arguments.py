"""`--model`, `--config-file` and `--weights`: the model of a command, and its config or predictor.

A model is trained, or it is only described: by the name of a config, or as the recipe of a model folder.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from yacs.config import CfgNode

from segvit.command_line.parser import CommandParser
from segvit.config.loading import config_file, find_config, load_config
from segvit.config.overrides import pairs_of
from segvit.errors import UserError
from segvit.exported.files import is_exported
from segvit.inference.loaded_model import load_checkpoint, load_folder
from segvit.inference.predictor import SegViTPredictor
from segvit.model_folder.finding import CHECKPOINTS, find_model, holds_model
from segvit.model_folder.loading import default_device

FOLDER = "a model folder, the OUTPUT_DIR of a run, or user/name on the Hugging Face hub"


def add_trained_model(parser: CommandParser) -> None:
    """Add the options of a command that needs trained weights."""
    _add_source(parser, f"the trained model: {FOLDER} (default: --config-file)")
    _add_weights(parser)


def add_any_model(parser: CommandParser, *, reads_weights: bool = True) -> None:
    """Add the options of a command that also works with random weights, or does not need any."""
    _add_source(parser, f"the model: {FOLDER}; or the name of a config, for a new model (default: --config-file)")
    if reads_weights:
        _add_weights(parser)


def add_recipe(parser: CommandParser) -> None:
    """Add the options of a command that trains models anew."""
    _add_source(parser, f"the recipe: the name of a config, or that of {FOLDER} (default: --config-file)")


def _add_source(parser: CommandParser, model: str) -> None:
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--model", metavar="FOLDER_OR_NAME", help=model)
    source.add_argument(
        "--config-file", metavar="FILE_OR_NAME", help="the config: a YAML file, or the name of a shipped config"
    )


def _add_weights(parser: CommandParser) -> None:
    parser.add_argument(
        "--weights", type=Path, metavar="FILE", help="the checkpoint for --config-file (default: MODEL.WEIGHTS)"
    )


def model_name(args: argparse.Namespace) -> str:
    """The model as the command line names it."""
    return args.model or args.config_file


def trained_config(args: argparse.Namespace, opts: Sequence[Any] | None = None) -> CfgNode:
    """The config of a trained model, with its MODEL.WEIGHTS.

    Args:
        args: with the options of `add_trained_model`.
        opts: overrides (default: those of `args`).

    Raises:
        UserError: see `find_model` and `load_config`; no weights are named.
    """
    cfg = config_of(args, opts)
    require_weights(cfg)
    return cfg


def require_weights(cfg: CfgNode) -> None:
    """Raise UserError if no trained weights are named."""
    if not cfg.MODEL.WEIGHTS:
        raise UserError("MODEL.WEIGHTS is empty: name a model folder by --model, or a checkpoint by --weights")


def config_of(
    args: argparse.Namespace, opts: Sequence[Any] | None = None, *, shared: bool = False, trains: bool = False
) -> CfgNode:
    """The config of a command line; MODEL.WEIGHTS is that of the model folder or of --weights, if one is named.

    Args:
        args: with the options of this file.
        opts: overrides (default: those of `args`).
        shared, trains: see `load_config`.

    Raises:
        UserError: see `find_model` and `load_config`; --model and --weights are given.
    """
    opts = args.opts if opts is None else opts
    weights = weights_of(args)
    if args.model is not None:
        return load_config(find_model_or_config(args.model), opts, shared=shared, trains=trains)
    if weights is not None:
        if "MODEL.WEIGHTS" in opts[::2]:
            raise UserError(f"--weights {weights} and MODEL.WEIGHTS: leave one out")
        opts = [*opts, "MODEL.WEIGHTS", str(weights)]
    return load_config(config_file_of(args), opts, shared=shared, trains=trains)


def weights_of(args: argparse.Namespace) -> Path | None:
    """The checkpoint of --weights; None without the option. Raises UserError beside --model, which has weights."""
    weights = getattr(args, "weights", None)
    if args.model is not None and weights is not None:
        raise UserError(f"--model {args.model} has weights: leave out --weights")
    return weights


def names_weights(args: argparse.Namespace) -> bool:
    """Whether a command line names weights, and not only a config that does."""
    is_trained = args.model is not None and Path(find_model_or_config(args.model)).is_dir()
    return is_trained or weights_of(args) is not None or "MODEL.WEIGHTS" in args.opts[::2]


def find_model_or_config(name: str) -> Path:
    """A model folder, or the file of a config. Raises UserError if the name means neither.

    A folder without a model, such as that of a dataset, does not hide a config of the same name.
    """
    is_folder = Path(name).is_dir()
    if (is_folder and holds_model(name)) or (Path(name).is_file() and Path(name).suffix in CHECKPOINTS):
        return find_model(name)
    try:
        return find_config(name)
    except UserError as no_config:
        if not is_folder and (name.count("/") != 1 or Path(name).exists()):
            raise UserError(f"--model {name}: {no_config}, nor a model folder") from no_config
    return find_model(name)


def config_file_of(args: argparse.Namespace) -> Path:
    """The file, or the model folder, whose config a command line names."""
    if args.model is not None:
        return find_model_or_config(args.model)
    if not args.config_file:
        raise UserError("name a config by --config-file, or a model by --model")
    return find_config(args.config_file)


def recipe_config_file(args: argparse.Namespace) -> Path:
    """The file of the config of `add_recipe`: weights of a model folder are left out."""
    return config_file(config_file_of(args))


def predictor_of(
    args: argparse.Namespace,
    *,
    opts: Sequence[Any] | None = None,
    place: Callable[[str], str] = str,
    array_format: str = "BGR",
) -> SegViTPredictor:
    """The predictor of a command line; a model folder or an exported file needs neither Detectron2 nor data.

    Args:
        args: with the options of `add_trained_model`.
        opts: overrides (default: those of `args`).
        place: the device of this process for MODEL.DEVICE.
        array_format: see `SegViTPredictor`.

    Raises:
        UserError: see `SegViTPredictor`; --model and --weights are given.
    """
    opts = args.opts if opts is None else opts
    if args.model is None:
        cfg = trained_config(args, opts)
        cfg.defrost()
        cfg.MODEL.DEVICE = place(cfg.MODEL.DEVICE)
        return SegViTPredictor.of(load_checkpoint(cfg, None), array_format=array_format)
    weights_of(args)
    if is_exported(args.model):
        return SegViTPredictor(args.model, opts=opts, array_format=array_format)
    device = place(str(pairs_of(opts).get("MODEL.DEVICE", default_device())))
    folder = find_model(args.model)
    return SegViTPredictor.of(load_folder(folder, [*opts, "MODEL.DEVICE", device]), array_format=array_format)
