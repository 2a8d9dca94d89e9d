"""The number format of a training step: float32, or autocast to either half type, with loss scaling where needed."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from detectron2.config import CfgNode

from segvit.errors import UserError


@dataclass(frozen=True)
class Precision:
    """How a step computes.

    Attributes:
        device_type: "cuda" or "cpu".
        dtype: of autocast; float32 for none.
        grad_scaler: scales the loss, where it is enabled.
    """

    device_type: str
    dtype: torch.dtype
    grad_scaler: torch.amp.GradScaler

    def autocast(self) -> torch.autocast:
        """The context of a forward pass."""
        return torch.autocast(self.device_type, dtype=self.dtype, enabled=self.dtype != torch.float32)

    @property
    def scale(self) -> float:
        """The factor of the loss; 1 without loss scaling."""
        return self.grad_scaler.get_scale()


def build_precision(cfg: CfgNode, device_type: str) -> Precision:
    """What SOLVER.AMP asks for. Raises UserError for another precision, or float16 on a CPU."""
    amp = cfg.SOLVER.AMP
    return make_precision(amp.PRECISION if amp.ENABLED else "float32", device_type)


def make_precision(name: str, device_type: str) -> Precision:
    """ "float32", "float16" with loss scaling, or "bfloat16", whose range needs none; errors as above."""
    if name not in ("float32", "float16", "bfloat16"):
        raise UserError(f"SOLVER.AMP.PRECISION {name!r} must be 'float16' or 'bfloat16'")
    if name == "float16" and device_type == "cpu":
        raise UserError("SOLVER.AMP.PRECISION float16 needs a GPU; use bfloat16 on the CPU")
    scaler = torch.amp.GradScaler(device_type, enabled=name == "float16")
    return Precision(device_type=device_type, dtype=getattr(torch, name), grad_scaler=scaler)
