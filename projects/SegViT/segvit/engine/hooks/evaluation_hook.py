"""Evaluation every so many iterations, also of an iteration behind whose checkpoint the run was cut off."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from detectron2.engine import HookBase
from detectron2.evaluation.testing import flatten_results_dict
from detectron2.utils import comm


class Evaluation(HookBase):
    """Evaluate every `period` iterations and behind the last one; put the metrics into the event storage.

    Differs from Detectron2's `EvalHook` for resumed runs. Checkpoints are written before an evaluation, which may
    fail; where the run then stopped, the evaluation is made up for before the first step.

    Args:
        period: in iterations; 0 evaluates behind the last one alone.
        evaluate: gives nested metrics, on the main process at least.
    """

    def __init__(self, *, period: int, evaluate: Callable[[], Mapping[str, object] | None]) -> None:
        self._period = period
        self._evaluate = evaluate
        self._done = 0

    def state_dict(self) -> dict[str, int]:
        return {"done": self._done}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        self._done = state_dict["done"]

    def before_train(self) -> None:
        start = self.trainer.start_iter
        if self._is_due(start) and self._done < start < self.trainer.max_iter:
            self._run(start)

    def after_step(self) -> None:
        done = self.trainer.iter + 1
        if self._is_due(done) and done != self.trainer.max_iter:
            self._run(done)

    def after_train(self) -> None:
        # Short of it where an error ended the training, were it in the last iteration.
        if self.trainer.iter >= self.trainer.max_iter:
            self._run(self.trainer.max_iter)
        del self._evaluate  # it may hold the trainer, which holds this

    def _is_due(self, done: int) -> bool:
        return self._period > 0 and done > 0 and done % self._period == 0

    def _run(self, done: int) -> None:
        results = self._evaluate() or {}
        # Writers that have written the last iteration's losses take nothing more of that iteration.
        iteration = done - 1 if done < self.trainer.max_iter else done
        for name, value in flatten_results_dict(results).items():
            self.trainer.storage.put_scalar(name, float(value), smoothing_hint=False, cur_iter=iteration)
        self._done = done
        comm.synchronize()  # the main process writes more than the others do
