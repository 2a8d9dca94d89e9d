"""One step of the optimiser: over a batch at once or in parts, in any precision, and not on what is no number."""

from __future__ import annotations

import re
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from detectron2.config import CfgNode
from detectron2.engine import SimpleTrainer
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from segvit.engine.non_finite_guard import Batch, NonFiniteGuard
from segvit.errors import UserError
from segvit.modeling.losses.loss_normalizers import shares

STAGE = re.compile(r"_\d+$")  # of an auxiliary loss


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


class OptimizationStep(SimpleTrainer):
    """`SimpleTrainer` with autocast, accumulated gradients and a guard.

    Differs from Detectron2's `AMPTrainer`, which runs on CUDA alone. The gradients of a batch in parts are those of the
    whole batch, for every part's losses are divided by what counts in the whole (`SegViT.loss_totals`).

    Args:
        precision: of the forward passes.
        guard: looks at losses and gradients before the optimiser's step.
        parts: how many forward and backward passes share a batch, which must be a multiple of it.
    """

    def __init__(
        self,
        model: nn.Module,
        data_loader: torch.utils.data.DataLoader,
        optimizer: torch.optim.Optimizer,
        *,
        precision: Precision,
        guard: NonFiniteGuard,
        parts: int = 1,
    ) -> None:
        super().__init__(model, data_loader, optimizer)
        self.precision = precision
        self.guard = guard
        self.parts = parts

    def run_step(self) -> None:
        start = time.perf_counter()
        batch = next(self._data_loader_iter)
        data_time = time.perf_counter() - start

        scaler = self.precision.grad_scaler
        self.optimizer.zero_grad()
        losses = self._accumulate_gradients(batch)
        scaler.unscale_(self.optimizer)
        if self.guard.passes(losses, self.model, batch, iteration=self.iter, scale=self.precision.scale):
            self._write_metrics(losses, data_time)
            scaler.step(self.optimizer)
        scaler.update()

    def _accumulate_gradients(self, batch: Batch) -> dict[str, torch.Tensor]:
        """Run all parts forward and backward -> the losses of the whole batch."""
        size = len(batch) // self.parts
        parts = [batch[start : start + size] for start in range(0, len(batch), size)]
        whole: dict[str, torch.Tensor] = {}
        for index, (part, share) in enumerate(zip(parts, self._shares(parts), strict=True)):
            with self._synchronized(last=index == len(parts) - 1):
                with self.precision.autocast():
                    losses = self.model(part)
                if share:
                    losses = {name: loss * _share_of(name, share) for name, loss in losses.items()}
                self.precision.grad_scaler.scale(sum(losses.values())).backward()
            whole = {name: whole.get(name, 0) + loss.detach() for name, loss in losses.items()}
        return whole

    def _shares(self, parts: list[Batch]) -> list[dict[str, torch.Tensor]]:
        if len(parts) == 1:
            return [{}]
        model = self.model.module if isinstance(self.model, DistributedDataParallel) else self.model
        return shares([model.loss_totals(part) for part in parts], model.device)

    def _synchronized(self, *, last: bool) -> AbstractContextManager[None]:
        """Gradients are averaged over the processes once, in the last part's backward pass."""
        if last or not isinstance(self.model, DistributedDataParallel):
            return nullcontext()
        return self.model.no_sync()

    def state_dict(self) -> dict[str, object]:
        return {**super().state_dict(), "grad_scaler": self.precision.grad_scaler.state_dict()}

    def load_state_dict(self, state_dict: dict[str, object]) -> None:
        super().load_state_dict(state_dict)
        # A run without mixed precision has written none, or an empty one; this one's scale then starts anew.
        if state_dict.get("grad_scaler") and self.precision.grad_scaler.is_enabled():
            self.precision.grad_scaler.load_state_dict(state_dict["grad_scaler"])


def _share_of(name: str, share: dict[str, torch.Tensor]) -> torch.Tensor:
    """Of a loss or an auxiliary one. Raises UserError where the model does not say what counts in it."""
    total = STAGE.sub("", name)
    if total not in share:
        raise UserError(f"{name} does not say what it is divided by (`loss_totals`): set SOLVER.ACCUM_STEPS 1")
    return share[total]
