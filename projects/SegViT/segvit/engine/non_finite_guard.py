"""`NonFiniteGuard`: refuses optimizer steps with NaN or infinite losses or gradients, and saves their batches."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import torch
from detectron2.utils import comm
from torch import nn

from segvit.engine.any_process import any_process
from segvit.errors import UserError
from segvit.output_files import atomic_write

logger = logging.getLogger(__name__)

# Folder of the saved batches, in the output folder.
FOLDER = "non_finite"
# The run ends when this many steps in a row are not finite: further batches will not help.
MOST_SKIPPED = 10
# At most this many parameters are named in a message.
MOST_NAMED = 10

Batch = list[dict[str, object]]


class NonFiniteError(FloatingPointError, UserError):
    """A loss or gradient is infinite or NaN."""


class NonFiniteGuard:
    """Checks losses and gradients before every optimizer step; all processes take the same decision.

    Infinite gradients pass while the loss is scaled, because the loss scaler then skips the step and lowers its scale.
    They are an error at the scale 1.

    Args:
        action: "stop" ends the run; "skip" skips the step, and ends the run at the `MOST_SKIPPED`th in a row.
        folder: the output folder; batches are saved in its subfolder non_finite.

    Raises:
        UserError: for another action.
    """

    def __init__(self, *, action: str, folder: str | Path) -> None:
        if action not in ("stop", "skip"):
            raise UserError(f"SOLVER.NON_FINITE {action!r} must be 'stop' or 'skip'")
        self._action = action
        self._folder = Path(folder, FOLDER)
        self._skipped = 0

    def passes(
        self, losses: Mapping[str, torch.Tensor], model: nn.Module, batch: Batch, *, iteration: int, scale: float
    ) -> bool:
        """Whether the optimizer may take the step. Every process must call it.

        Args:
            losses: name -> scalar, of this process.
            model: with the unscaled gradients of the step.
            batch: of this process, one dict per image.
            iteration: of the step.
            scale: the loss scale.

        Raises:
            NonFiniteError: if it may not, and the run ends.
        """
        device = next(iter(losses.values())).device
        gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
        is_finite = torch.stack([loss.detach() for loss in losses.values()]).isfinite().all()
        if scale <= 1:
            # The norm is the fastest check of all gradients; it also overflows if one of them exceeds 1e19.
            is_finite &= nn.utils.get_total_norm(gradients).isfinite()
        if not any_process(not is_finite.item(), device):
            self._skipped = 0
            return True
        message = self._report(losses, model, batch, iteration)
        self._skipped += 1
        if self._action == "stop" or self._skipped >= MOST_SKIPPED:
            raise NonFiniteError(
                f"{message}. No step was taken. Lower SOLVER.BASE_LR, clip gradients (SOLVER.CLIP_GRADIENTS), or train "
                "in bfloat16 or float32 in place of float16; SOLVER.NON_FINITE 'skip' skips single batches"
            )
        logger.warning("%s. The step is skipped", message)
        return False

    def _report(self, losses: Mapping[str, torch.Tensor], model: nn.Module, batch: Batch, iteration: int) -> str:
        """Save the batch; return a message with the losses and parameters that are not finite."""
        terms = {name: loss.item() for name, loss in losses.items() if not loss.isfinite()}
        names = [
            name
            for name, parameter in model.named_parameters()
            if parameter.grad is not None and not parameter.grad.isfinite().all()
        ]
        path = self._folder / f"iteration_{iteration:07d}_rank{comm.get_rank()}.pth"
        images = [{key: value for key, value in image.items() if _is_plain(value)} for image in batch]
        content = {"iteration": iteration, "losses": terms, "parameters": names, "batch": images}
        with atomic_write(path) as unfinished:
            torch.save(content, unfinished)
        files = [str(image.get("file_name", "(no file name)")) for image in batch]
        named = ", ".join(names[:MOST_NAMED]) + (f" and {len(names) - MOST_NAMED} more" if names[MOST_NAMED:] else "")
        return (
            f"iteration {iteration}: losses that are NaN or infinite: {terms or 'none'}; "
            f"parameters with such gradients: {named or 'none'}; "
            f"images of this process: {', '.join(files)}; the batch is saved in {path}"
        )


def _is_plain(value: object) -> bool:
    """Whether `torch.load(weights_only=True)` reads it back."""
    return isinstance(value, (torch.Tensor, str, int, float))
