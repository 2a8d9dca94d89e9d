"""Keep the checkpoint with the best validation result."""

from __future__ import annotations

import logging
import math

from detectron2.checkpoint import DetectionCheckpointer
from detectron2.engine import HookBase


class BestCheckpoint(HookBase):
    """Save model_best.pth whenever an evaluation beats all before it; belongs right behind the evaluation's hook.

    Differs from Detectron2's `BestCheckpointer`: what was best is part of every checkpoint, so that a resumed run does
    not overwrite it with something worse, and the file of a finished run resumes at the iteration after its last.

    Args:
        period: iterations between evaluations.
        checkpointer: writes the file.
        metric: name in the event storage, such as "sem_seg/mIoU"; higher is better.
    """

    def __init__(self, *, period: int, checkpointer: DetectionCheckpointer, metric: str) -> None:
        self._period = period
        self._checkpointer = checkpointer
        self._metric = metric
        self._best = -math.inf

    def state_dict(self) -> dict[str, float]:
        return {"best": self._best}

    def load_state_dict(self, state_dict: dict[str, float]) -> None:
        self._best = state_dict["best"]

    def before_train(self) -> None:
        if self._metric in self.trainer.storage.latest():  # an evaluation that was made up for
            self._keep_if_best(self.trainer.start_iter - 1)

    def after_step(self) -> None:
        next_iter = self.trainer.iter + 1
        if next_iter % self._period == 0 and next_iter != self.trainer.max_iter:
            self._keep_if_best(self.trainer.iter)

    def after_train(self) -> None:
        if self.trainer.iter >= self.trainer.max_iter:
            self._keep_if_best(self.trainer.max_iter - 1)

    def _keep_if_best(self, iteration: int) -> None:
        value, _ = self.trainer.storage.latest().get(self._metric, (math.nan, None))
        logger = logging.getLogger(__name__)
        if math.isnan(value):
            logger.warning("the evaluation gave no %s: model_best.pth is left as it is", self._metric)
        elif value > self._best:
            logger.info("%s %.3f is the best so far (before: %.3f)", self._metric, value, self._best)
            self._best = value
            self._checkpointer.save("model_best", iteration=iteration)
        else:
            logger.info("%s %.3f does not beat the best, %.3f", self._metric, value, self._best)
