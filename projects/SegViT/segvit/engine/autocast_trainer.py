"""A mixed-precision training step for any device and either half type."""

from __future__ import annotations

import time

import torch
from detectron2.engine import SimpleTrainer
from torch import nn


class AutocastTrainer(SimpleTrainer):
    """`SimpleTrainer` under autocast; differs from Detectron2's `AMPTrainer`, which runs on CUDA alone.

    Args:
        precision: "float16", with loss scaling, or "bfloat16", whose range needs none.
        device_type: "cuda" or "cpu".

    Raises:
        ValueError: for another precision, or float16 on a CPU.
    """

    def __init__(
        self,
        model: nn.Module,
        data_loader: torch.utils.data.DataLoader,
        optimizer: torch.optim.Optimizer,
        *,
        precision: str,
        device_type: str,
    ) -> None:
        super().__init__(model, data_loader, optimizer)
        if precision not in ("float16", "bfloat16"):
            raise ValueError(f"SOLVER.AMP.PRECISION {precision!r} must be 'float16' or 'bfloat16'")
        if precision == "float16" and device_type == "cpu":
            raise ValueError("SOLVER.AMP.PRECISION float16 needs a GPU; use bfloat16 on the CPU")
        self.precision = getattr(torch, precision)
        self.device_type = device_type
        self.grad_scaler = torch.amp.GradScaler(device_type, enabled=precision == "float16")

    def run_step(self) -> None:
        start = time.perf_counter()
        data = next(self._data_loader_iter)
        data_time = time.perf_counter() - start

        with torch.autocast(self.device_type, dtype=self.precision):
            loss_dict = self.model(data)
        self.optimizer.zero_grad()
        self.grad_scaler.scale(sum(loss_dict.values())).backward()
        self._write_metrics(loss_dict, data_time)
        self.grad_scaler.step(self.optimizer)
        self.grad_scaler.update()

    def state_dict(self) -> dict[str, object]:
        return {**super().state_dict(), "grad_scaler": self.grad_scaler.state_dict()}

    def load_state_dict(self, state_dict: dict[str, object]) -> None:
        super().load_state_dict(state_dict)
        self.grad_scaler.load_state_dict(state_dict["grad_scaler"])
