"""`NonFiniteGuard`: reports steps with NaN or infinite losses or gradients, saves their batches and ends the run."""

from __future__ import annotations

import logging
from pathlib import Path

import torch
from detectron2.utils import comm

from segvit.engine.step_outcome import StepOutcome
from segvit.errors import UserError, listed
from segvit.output_files import atomic_write

logger = logging.getLogger(__name__)

# Folder of the saved batches, in the output folder.
FOLDER = "non_finite"
# The run ends when this many steps in a row are not finite: further batches will not help.
MOST_SKIPPED = 10


class NonFiniteError(FloatingPointError, UserError):
    """A loss or gradient is infinite or NaN."""


class NonFiniteGuard:
    """Judges steps with infinite or NaN losses or gradients; all processes take the same decision.

    `StepOutcome.refused` keeps the optimizer from the step itself; the guard reports it, and may end the run.

    Args:
        action: "stop" ends the run; "skip" goes on, and ends the run at the `MOST_SKIPPED`th such step in a row.
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

    def judge(self, outcome: StepOutcome, *, is_finite: bool) -> None:
        """Report a step that is not finite. Every process must call it for every step.

        Args:
            outcome: of this process.
            is_finite: in all processes, see `StepFigures`.

        Raises:
            NonFiniteError: if the run ends.
        """
        if is_finite:
            self._skipped = 0
            return
        message = self._report(outcome)
        self._skipped += 1
        if self._action == "stop" or self._skipped >= MOST_SKIPPED:
            raise NonFiniteError(
                f"{message}. No step was taken. Lower SOLVER.BASE_LR, clip gradients (SOLVER.CLIP_GRADIENTS), or train "
                "in bfloat16 or float32 in place of float16; SOLVER.NON_FINITE 'skip' skips single batches"
            )
        logger.warning("%s. The step is skipped", message)

    def _report(self, outcome: StepOutcome) -> str:
        """Save the batch; return a message with the losses and parameters that are not finite."""
        terms = {name: loss.item() for name, loss in outcome.losses.items() if not loss.isfinite()}
        finite = outcome.gradient_norms.isfinite().tolist()
        names = [name for name, is_finite in zip(outcome.parameter_names, finite) if not is_finite]
        path = self._folder / f"iteration_{outcome.iteration:07d}_rank{comm.get_rank()}.pth"
        images = [{key: value for key, value in image.items() if _is_plain(value)} for image in outcome.batch]
        content = {"iteration": outcome.iteration, "losses": terms, "parameters": names, "batch": images}
        with atomic_write(path) as unfinished:
            torch.save(content, unfinished)
        files = [str(image.get("file_name", "(no file name)")) for image in outcome.batch]
        return (
            f"iteration {outcome.iteration}: losses that are NaN or infinite: {terms or 'none'}; "
            f"parameters with such gradients: {listed(names) or 'none'}; "
            f"images of this process: {', '.join(files)}; the batch is saved in {path}"
        )


def _is_plain(value: object) -> bool:
    """Whether `torch.load(weights_only=True)` reads it back."""
    return isinstance(value, (torch.Tensor, str, int, float))
