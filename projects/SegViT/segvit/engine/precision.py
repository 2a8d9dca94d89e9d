"""`Precision`: the number formats of a training step, from SOLVER.AMP and SOLVER.TF32."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from detectron2.config import CfgNode

from segvit.config.device import number_format


@dataclass(frozen=True)
class Precision:
    """The number format of forward and backward passes.

    Attributes:
        device_type: "cuda" or "cpu".
        dtype: of autocast; float32 for none.
        grad_scaler: scales the loss; disabled unless `dtype` is float16.
        tf32: compute products of float32 in TF32, on GPUs that have it.
    """

    device_type: str
    dtype: torch.dtype
    grad_scaler: torch.amp.GradScaler
    tf32: bool = False

    def autocast(self) -> torch.autocast:
        """The context of a forward pass."""
        return torch.autocast(self.device_type, dtype=self.dtype, enabled=self.dtype != torch.float32)

    @contextmanager
    def float32_products(self) -> Iterator[None]:
        """The context of a forward and backward pass, in which TF32 is allowed or not; PyTorch's settings come back."""
        matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
        before = matmul.allow_tf32, cudnn.allow_tf32
        matmul.allow_tf32 = cudnn.allow_tf32 = self.tf32
        try:
            yield
        finally:
            matmul.allow_tf32, cudnn.allow_tf32 = before


def build_precision(cfg: CfgNode, device_type: str) -> Precision:
    """The precision of SOLVER.AMP and SOLVER.TF32; errors as those of `make_precision`."""
    amp = cfg.SOLVER.AMP
    return make_precision(amp.PRECISION if amp.ENABLED else "float32", device_type, tf32=cfg.SOLVER.TF32)


def make_precision(name: str, device_type: str, *, tf32: bool = False) -> Precision:
    """The precision of a `number_format`; float16 has loss scaling, which the range of bfloat16 does not need.

    Raises:
        UserError: as `number_format` does.
    """
    dtype = number_format(name, device_type, key="SOLVER.AMP.PRECISION")
    scaler = torch.amp.GradScaler(device_type, enabled=dtype == torch.float16)
    return Precision(device_type=device_type, dtype=dtype, grad_scaler=scaler, tf32=tf32)
