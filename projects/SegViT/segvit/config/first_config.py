"""`first_config`: the config whose training comes before that of another one, which begins with its final weights."""

from __future__ import annotations

from pathlib import Path

from yacs.config import CfgNode

from segvit.config.loading import find_config
from segvit.errors import UserError


def first_config(cfg: CfgNode) -> Path | None:
    """The file that SOLVER.FIRST_CONFIG names; None if it names none, or if MODEL.WEIGHTS names weights to begin with.

    Raises:
        UserError: there is no such config.
    """
    if not cfg.SOLVER.FIRST_CONFIG or cfg.MODEL.WEIGHTS:
        return None
    try:
        return find_config(cfg.SOLVER.FIRST_CONFIG)
    except UserError as error:
        raise UserError(f"SOLVER.FIRST_CONFIG: {error}") from error


def require_no_first_config(cfg: CfgNode, *, remedy: str) -> None:
    """Raise UserError, which ends in `remedy`, in a command that does not train another config before."""
    if first_config(cfg) is not None:
        raise UserError(f"SOLVER.FIRST_CONFIG {cfg.SOLVER.FIRST_CONFIG!r} is trained by train_net.py alone: {remedy}")
