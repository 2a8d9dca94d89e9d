"""`first_config`: the config whose training comes before that of another one, which begins with its final weights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from yacs.config import CfgNode

from segvit.config.loading import find_config
from segvit.config.overrides import Layer
from segvit.errors import UserError

KEY = "SOLVER.FIRST_CONFIG"
# The folder of its training in OUTPUT_DIR.
FIRST = "first"


def first_config(cfg: CfgNode, layers: Sequence[tuple[Path, Layer]] = ()) -> Path | None:
    """The file that SOLVER.FIRST_CONFIG names; None if it names none, or if MODEL.WEIGHTS names weights to begin with.

    Args:
        cfg: the config.
        layers: its `config_layers`: a file's FIRST_CONFIG may be relative to the folder of that file.

    Raises:
        UserError: there is no such config.
    """
    name = cfg.SOLVER.FIRST_CONFIG
    if not name or cfg.MODEL.WEIGHTS:
        return None
    for file, layer in reversed(layers):
        if layer.get(KEY) == name and (file.parent / name).is_file():
            return file.parent / name
    try:
        return find_config(name)
    except UserError as error:
        raise UserError(f"{KEY}: {error}") from error


def require_no_first_config(cfg: CfgNode, *, remedy: str) -> None:
    """Raise UserError, which ends in `remedy`, in a command that does not train another config before."""
    if cfg.SOLVER.FIRST_CONFIG and not cfg.MODEL.WEIGHTS:
        raise UserError(f"{KEY} {cfg.SOLVER.FIRST_CONFIG!r} is trained by train_net.py alone: {remedy}")


def run_name(folder: Path) -> str:
    """The name of a run by its folder; that of a first training begins with the name of the run that it belongs to."""
    path = folder.resolve()
    return f"{path.parent.name}_{FIRST}" if path.name == FIRST else path.name
