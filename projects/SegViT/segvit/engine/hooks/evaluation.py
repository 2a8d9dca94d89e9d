"""`Evaluation` and `BestCheckpoint`: Detectron2's `EvalHook` and `BestCheckpointer`, made safe for resumed runs.

`WriteEvaluations` writes the metrics of each evaluation at once.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence

from detectron2.checkpoint import DetectionCheckpointer
from detectron2.engine import HookBase
from detectron2.evaluation.testing import flatten_results_dict
from detectron2.utils import comm
from detectron2.utils.events import CommonMetricPrinter, EventWriter

logger = logging.getLogger(__name__)


class Evaluation(HookBase):
    """Evaluate every `period` iterations and after the last one; put the metrics into the event storage.

    Differs from Detectron2's `EvalHook`: a checkpoint is written before the evaluation of the same iteration, so a run
    can be interrupted between the two. A resumed run then runs the missed evaluation before its first step.

    Args:
        period: iterations between evaluations; 0 evaluates after the last iteration only.
        evaluate: returns nested metrics on the main process; other processes may return None.
    """

    def __init__(self, *, period: int, evaluate: Callable[[], Mapping[str, object] | None]) -> None:
        self._period = period
        self._evaluate = evaluate
        self._last_evaluated = 0

    def state_dict(self) -> dict[str, int]:
        return {"done": self._last_evaluated}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        self._last_evaluated = state_dict["done"]

    def before_train(self) -> None:
        start = self.trainer.start_iter
        was_missed = self._last_evaluated < start < self.trainer.max_iter
        if was_missed and self._is_due(start):
            self._run(start)

    def after_step(self) -> None:
        done = self.trainer.iter + 1
        if self._is_due(done) and done != self.trainer.max_iter:
            self._run(done)

    def after_train(self) -> None:
        # `iter` is still below `max_iter` if an error ended the training.
        if self.trainer.iter >= self.trainer.max_iter:
            self._run(self.trainer.max_iter)
        # The function may hold the trainer, which holds this hook: break the reference cycle.
        del self._evaluate

    def _is_due(self, done: int) -> bool:
        return self._period > 0 and done > 0 and done % self._period == 0

    def _run(self, done: int) -> None:
        """Evaluate after `done` iterations."""
        results = self._evaluate() or {}
        # Writers skip an iteration that they have already written, so the last evaluation counts as one iteration more.
        iteration = done - 1 if done < self.trainer.max_iter else done
        for name, value in flatten_results_dict(results).items():
            self.trainer.storage.put_scalar(name, float(value), smoothing_hint=False, cur_iter=iteration)
        self._last_evaluated = done
        comm.synchronize()  # the main process also writes files


class BestCheckpoint(HookBase):
    """Save model_best.pth when an evaluation beats all earlier ones; register it directly after `Evaluation`.

    Differs from Detectron2's `BestCheckpointer`: the best value is part of every checkpoint, so a resumed run does not
    overwrite model_best.pth with a worse model, and `iteration` in the file is the last iteration that was trained.

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
        # The metric is in the storage already if `Evaluation` has just run the evaluation that was missed.
        if self._metric in self.trainer.storage.latest():
            self._save_if_best(self.trainer.start_iter - 1)

    def after_step(self) -> None:
        done = self.trainer.iter + 1
        if done % self._period == 0 and done != self.trainer.max_iter:
            self._save_if_best(self.trainer.iter)

    def after_train(self) -> None:
        if self.trainer.iter >= self.trainer.max_iter:
            self._save_if_best(self.trainer.max_iter - 1)

    def _save_if_best(self, iteration: int) -> None:
        value, _ = self.trainer.storage.latest().get(self._metric, (math.nan, None))
        if math.isnan(value):
            logger.warning("The evaluation gave no %s: model_best.pth stays unchanged", self._metric)
        elif value > self._best:
            logger.info("%s %.3f is the best so far (before: %.3f)", self._metric, value, self._best)
            self._best = value
            self._checkpointer.save("model_best", iteration=iteration)
        else:
            logger.info("%s %.3f does not beat the best, %.3f", self._metric, value, self._best)


class WriteEvaluations(HookBase):
    """Write the event storage after each evaluation; register it after `Evaluation`.

    The storage holds the latest value of a metric alone, and Detectron2 writes it every 20 iterations: of evaluations
    in shorter periods it would lose all but the last.

    Args:
        period: iterations between evaluations.
        writers: those of the run; its log lines, which a `CommonMetricPrinter` writes, keep their period.
    """

    def __init__(self, *, period: int, writers: Sequence[EventWriter]) -> None:
        self._period = period
        self._writers = [writer for writer in writers if not isinstance(writer, CommonMetricPrinter)]

    def after_step(self) -> None:
        if (self.trainer.iter + 1) % self._period == 0:
            for writer in self._writers:
                writer.write()
