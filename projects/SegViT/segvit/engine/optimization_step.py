"""`OptimizationStep`: one optimizer step, with autocast, accumulated gradients and a guard against NaN and infinity."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from detectron2.engine import SimpleTrainer
from detectron2.utils import comm
from detectron2.utils.events import get_event_storage
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from segvit.engine.non_finite_guard import NonFiniteGuard
from segvit.engine.precision import Precision
from segvit.engine.step_outcome import Batch, StepOutcome, outcome_of_step
from segvit.errors import UserError


class OptimizationStep(SimpleTrainer):
    """`SimpleTrainer` with autocast on any device, gradient accumulation and a `NonFiniteGuard`.

    Differs from Detectron2's `AMPTrainer`, which runs on CUDA alone. Gradients that are accumulated over the parts of a
    batch are those of the whole batch, because the losses of every part are divided by the normalizers of the whole
    batch (see `SegViT.loss_normalizers`).

    Args:
        optimizer: if it is fused (`fused=True`), the device skips a step with gradients that are not finite, and the
            host reads this in the next step, or in `settle`. Otherwise the host waits for each step.
        precision: of the forward passes.
        guard: is told of losses and gradients that are not finite.
        parts: number of forward and backward passes per batch; must divide the batch size.

    Attributes:
        wants_stop: whether this process asks for the end of the run.
        stop_is_due: whether one of the processes has asked for it, the same in all of them.
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
        self.wants_stop = self.stop_is_due = False
        self._is_read_later = bool(optimizer.defaults.get("fused"))
        self._unread: StepOutcome | None = None
        self._parameters = dict(model.named_parameters())

    def run_step(self) -> None:
        # Wait for a batch.
        start = time.perf_counter()
        batch = next(self._data_loader_iter)
        data_time = time.perf_counter() - start

        # Forward and backward passes.
        scaler = self.precision.grad_scaler
        self.optimizer.zero_grad()
        with self.precision.float32_products():
            losses = self._accumulate_gradients(batch)
        scaler.unscale_(self.optimizer)

        # Read the outcome of the step before while this one runs, and gather that of this one.
        self.settle()
        outcome = outcome_of_step(
            losses,
            self._parameters,
            iteration=self.iter,
            batch=batch,
            scale=scaler.scale(next(iter(losses.values())).new_ones(())),
            data_time=data_time,
            stops=self.wants_stop,
        )

        # Step the optimizer if losses and gradients are finite.
        if self._is_read_later:
            self._unread = outcome
            self._step_unless(outcome.refused, outcome.gradient_norms)
        elif self._take_note(outcome):
            scaler.step(self.optimizer)
        scaler.update()

    def settle(self) -> None:
        """Read the outcome of the last step, if it is unread. All processes must call it at the same time.

        Raises:
            NonFiniteError: see `NonFiniteGuard`.
        """
        outcome, self._unread = self._unread, None
        if outcome is not None:
            self._take_note(outcome)

    def _take_note(self, outcome: StepOutcome) -> bool:
        """Tell the guard, and write the metrics of a finite step -> whether it is one."""
        figures = outcome.read()
        self.stop_is_due = figures.stops
        self.guard.judge(outcome, is_finite=figures.is_finite)
        if figures.is_finite and comm.is_main_process():
            storage = get_event_storage()
            storage.put_scalar("data_time", figures.data_time, cur_iter=outcome.iteration)
            storage.put_scalar("total_loss", sum(figures.losses.values()), cur_iter=outcome.iteration)
            if len(figures.losses) > 1:
                storage.put_scalars(cur_iter=outcome.iteration, **figures.losses)
        return figures.is_finite

    def _step_unless(self, refused: torch.Tensor, gradient_norms: torch.Tensor) -> None:
        """Let a fused optimizer step on the device if `refused` is 0: its way to take part in loss scaling."""
        self.optimizer.found_inf = refused  # type: ignore[attr-defined]  # read by fused optimizers
        self.optimizer.gradient_norms = gradient_norms  # type: ignore[attr-defined]  # read by `add_full_model_clipping`
        try:
            self.optimizer.step()
        finally:
            del self.optimizer.found_inf  # type: ignore[attr-defined]
            del self.optimizer.gradient_norms  # type: ignore[attr-defined]

    def _accumulate_gradients(self, batch: Batch) -> dict[str, torch.Tensor]:
        """Run all parts forward and backward -> the losses of the whole batch."""
        if self.parts == 1:
            return self._forward_backward(batch)
        normalizers = self._loss_normalizers(batch)
        size = len(batch) // self.parts
        summed: dict[str, torch.Tensor] = {}
        for start in range(0, len(batch), size):
            is_last = start + size >= len(batch)
            with nullcontext() if is_last else self._without_all_reduce():
                losses = self._forward_backward(batch[start : start + size], normalizers)
            summed = {name: summed.get(name, 0) + loss for name, loss in losses.items()}
        return summed

    def _forward_backward(self, *arguments: object) -> dict[str, torch.Tensor]:
        """Add the gradients of one call of the model -> its losses, detached."""
        with self.precision.autocast():
            losses = self.model(*arguments)
        self.precision.grad_scaler.scale(torch.stack(list(losses.values())).sum()).backward()
        return {name: loss.detach() for name, loss in losses.items()}

    def _loss_normalizers(self, batch: Batch) -> dict[str, torch.Tensor]:
        model = self.model.module if isinstance(self.model, DistributedDataParallel) else self.model
        if not hasattr(model, "loss_normalizers"):
            raise UserError(
                f"SOLVER.ACCUM_STEPS {self.parts} needs a model with `loss_normalizers`, which {type(model).__name__} "
                "does not have; set 1"
            )
        return model.loss_normalizers(batch)

    def _without_all_reduce(self) -> AbstractContextManager[None]:
        """DistributedDataParallel averages gradients over processes once, in the last part's backward pass."""
        return self.model.no_sync() if isinstance(self.model, DistributedDataParallel) else nullcontext()

    def state_dict(self) -> dict[str, Any]:
        self.settle()  # no checkpoint is written after a step that nobody has judged
        return {
            **super().state_dict(),
            "grad_scaler": self.precision.grad_scaler.state_dict(),
            "parameter_names": self._parameter_names(),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load the optimizer's state by parameter name; learning rates and weight decay stay those of the config.

        Raises:
            UserError: a checkpoint of an older version, which has no names, was trained with other parameter groups.
        """
        current, saved = self.optimizer.state_dict(), state_dict["optimizer"]
        names = self._parameter_names()
        saved_names = state_dict.get("parameter_names", names)
        if "parameter_names" not in state_dict and _group_sizes(saved) != _group_sizes(current):
            raise UserError(
                f"the checkpoint is of an older version and has parameter groups of {_group_sizes(saved)} tensors, the "
                f"config gives {_group_sizes(current)}: set SOLVER.LAYER_DECAY, SOLVER.NO_WEIGHT_DECAY, "
                "SOLVER.WEIGHT_DECAY, SOLVER.DECODER_LR_MULTIPLIER and MODEL.VIT.FROZEN as they were"
            )
        state_by_name = {saved_names[index]: state for index, state in saved["state"].items()}
        state = {index: state_by_name[name] for index, name in enumerate(names) if name in state_by_name}
        merged = {"state": state, "param_groups": current["param_groups"]}
        super().load_state_dict({**state_dict, "optimizer": merged})
        # A run without loss scaling wrote no state, or an empty one: this run's scaler keeps its initial scale.
        if state_dict.get("grad_scaler") and self.precision.grad_scaler.is_enabled():
            self.precision.grad_scaler.load_state_dict(state_dict["grad_scaler"])

    def _parameter_names(self) -> list[str]:
        """Names of the optimizer's parameters, in the order of the indices in its state."""
        model = self.model.module if isinstance(self.model, DistributedDataParallel) else self.model
        names = {id(parameter): name for name, parameter in model.named_parameters()}
        return [names[id(parameter)] for group in self.optimizer.param_groups for parameter in group["params"]]


def _group_sizes(optimizer_state: dict[str, Any]) -> list[int]:
    return [len(group["params"]) for group in optimizer_state["param_groups"]]
