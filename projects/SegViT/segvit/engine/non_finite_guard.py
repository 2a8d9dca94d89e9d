"""A loss or gradient that is no number: said with names, its batch kept, and the step not taken."""

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

FOLDER = "non_finite"
# Where so many steps in a row are skipped, no further batch will help.
MOST_SKIPPED = 10
MOST_NAMED = 10

Batch = list[dict[str, object]]


class NonFiniteError(FloatingPointError, UserError):
    """A loss or gradient is infinite or NaN."""


class NonFiniteGuard:
    """Looks at every step before the optimiser takes it; all processes come to the same decision.

    An overflow of scaled gradients is no alarm, for the loss scaler lowers its scale; once that is down to 1 it is.

    Args:
        action: "stop" raises, "skip" leaves the weights as they are and goes on, ten steps in a row at most.
        folder: where the batches go, in a folder non_finite.

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
        """Whether the step may be taken.

        Args:
            losses: name -> scalar, of this process.
            model: with the gradients of the step, unscaled.
            batch: of this process; a dict of tensors, texts and numbers per image.
            iteration: of the step.
            scale: the factor that the loss had.

        Raises:
            NonFiniteError: where it may not, and the run ends.
        """
        device = next(iter(losses.values())).device
        gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
        sound = torch.stack([loss.detach() for loss in losses.values()]).isfinite().all()
        if scale <= 1:  # the norm is the fastest look at all of them; it also overflows where one exceeds 1e19
            sound &= nn.utils.get_total_norm(gradients).isfinite()
        if not any_process(not sound.item(), device):
            self._skipped = 0
            return True
        message = self._report(losses, model, batch, iteration)
        self._skipped += 1
        if self._action == "stop" or self._skipped >= MOST_SKIPPED:
            raise NonFiniteError(
                f"{message}. No step was taken. Lower SOLVER.BASE_LR, clip gradients (SOLVER.CLIP_GRADIENTS), or train "
                "in bfloat16 or float32 in place of float16; SOLVER.NON_FINITE 'skip' leaves single batches out"
            )
        logger.warning("%s. The step is skipped", message)
        return False

    def _report(self, losses: Mapping[str, torch.Tensor], model: nn.Module, batch: Batch, iteration: int) -> str:
        """Save the batch, and say what is not finite and where the batch is."""
        terms = {name: loss.item() for name, loss in losses.items() if not loss.isfinite()}
        names = [
            name
            for name, parameter in model.named_parameters()
            if parameter.grad is not None and not _finite(parameter)
        ]
        path = self._folder / f"iteration_{iteration:07d}_rank{comm.get_rank()}.pth"
        images = [{key: value for key, value in image.items() if _is_plain(value)} for image in batch]
        content = {"iteration": iteration, "losses": terms, "parameters": names, "batch": images}
        with atomic_write(path) as unfinished:
            torch.save(content, unfinished)
        files = [str(image.get("file_name", "(no file name)")) for image in batch]
        shown = ", ".join(names[:MOST_NAMED]) + (f" and {len(names) - MOST_NAMED} more" if names[MOST_NAMED:] else "")
        return (
            f"iteration {iteration}: losses that are not finite here: {terms or 'none'}; parameters whose gradients "
            f"are not: {shown or 'none'}; images here: {', '.join(files)}; the batch is in {path}"
        )


def _finite(parameter: nn.Parameter) -> bool:
    return bool(parameter.grad.isfinite().all())


def _is_plain(value: object) -> bool:
    """Whether a file that holds it is read without running code."""
    return isinstance(value, (torch.Tensor, str, int, float))
