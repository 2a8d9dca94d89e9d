"""`StepOutcome`: the losses of a step in all processes, and whether they and the gradients are finite.

They are gathered and copied to the host in the background. On a GPU the host reads them one step later, when they have
arrived, and never waits for the step that runs.

Shape shorthand: W processes, L losses, P parameters with gradients.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist
from detectron2.utils import comm
from torch import nn

from segvit.modeling.tokens import send

Batch = list[dict[str, object]]


@dataclass(frozen=True)
class StepOutcome:
    """What a step has computed.

    Attributes:
        iteration: of the step.
        batch: of this process, one dict per image.
        losses: the losses of this process, scalars by name.
        gradient_norms: (P,), infinite or NaN where a gradient is.
        parameter_names: P names.
        refused: float32 scalar on the model's device, 1 if the optimizer must not take the step, else 0.
    """

    iteration: int
    batch: Batch
    losses: Mapping[str, torch.Tensor]
    gradient_norms: torch.Tensor
    parameter_names: Sequence[str]
    refused: torch.Tensor
    _rows: HostCopy

    def read(self) -> StepFigures:
        """Wait until the figures have arrived."""
        rows = self._rows.read()  # (W, L + 5)
        *losses, bad_losses, bad_gradients, scale, data_time, stop = rows.double().unbind(dim=1)
        is_bad = bad_losses.bool() | (bad_gradients.bool() & (scale <= 1))
        return StepFigures(
            losses=dict(zip(self.losses, (loss.mean().item() for loss in losses), strict=True)),
            data_time=data_time.max().item(),
            is_finite=not is_bad.any(),
            stops=bool(stop.any()),
        )


@dataclass(frozen=True)
class StepFigures:
    """A step's figures on the host, over all processes.

    Attributes:
        losses: their means, by name.
        data_time: the longest time, in seconds, that a process waited for its batch.
        is_finite: whether losses and gradients are finite. Infinite gradients count as finite while the loss is
            scaled, because the loss scaler then skips the step and lowers its scale.
        stops: whether a process asks for the end of the run.
    """

    losses: Mapping[str, float]
    data_time: float
    is_finite: bool
    stops: bool


def outcome_of_step(
    losses: Mapping[str, torch.Tensor],
    parameters: Mapping[str, nn.Parameter],
    *,
    iteration: int,
    batch: Batch,
    scale: torch.Tensor,
    data_time: float,
    stops: bool,
) -> StepOutcome:
    """Gather the figures of a step. Every process must call it, with the same losses.

    Args:
        losses: scalars by name, detached.
        parameters: those of the model by name, with unscaled gradients or none.
        iteration, batch: see `StepOutcome`.
        scale: of the loss, a scalar on the model's device.
        data_time: seconds in which this process waited for the batch.
        stops: whether this process asks for the end of the run.
    """
    gradients = {name: value.grad for name, value in parameters.items() if value.grad is not None}
    values = torch.stack(list(losses.values())).float()
    # The norm is the fastest check of all gradients; it also overflows if one of them exceeds 1e19. There is no public
    # function for the norms of many tensors.
    norms = torch.stack(torch._foreach_norm(list(gradients.values()))) if gradients else values.new_zeros(1)
    sums = torch.stack([values.sum(), norms.sum()])
    known = send(torch.tensor([data_time, float(stops)]), values.device)
    is_bad = (sums - sums).ne(0).float()  # infinity - infinity and NaN - NaN are NaN
    rows = _gathered(torch.cat([values, is_bad, scale.view(1).float(), known]))
    return StepOutcome(
        iteration=iteration,
        batch=batch,
        losses=losses,
        gradient_norms=norms,
        parameter_names=list(gradients),
        refused=rows[:, len(losses) : len(losses) + 2].amax(),
        _rows=HostCopy(rows),
    )


def _gathered(row: torch.Tensor) -> torch.Tensor:
    """(n,) of this process -> (W, n) of all."""
    if comm.get_world_size() == 1:
        return row[None]
    rows = row.new_empty(comm.get_world_size() * len(row))
    dist.all_gather_into_tensor(rows, row)
    return rows.view(-1, len(row))


class HostCopy:
    """A tensor on its way to the host: a GPU copies it into page-locked memory while the host goes on."""

    def __init__(self, tensor: torch.Tensor) -> None:
        self._event = torch.cuda.Event() if tensor.is_cuda else None
        self._tensor = tensor
        if self._event is not None:
            self._tensor = torch.empty_like(tensor, device="cpu", pin_memory=True)
            self._tensor.copy_(tensor, non_blocking=True)
            self._event.record(torch.cuda.current_stream(tensor.device))

    def read(self) -> torch.Tensor:
        """The tensor on the CPU, as soon as it is there."""
        if self._event is not None:
            self._event.synchronize()
        return self._tensor
