"""`StopOnSigterm`: on SIGTERM, finish the iteration, save a checkpoint and exit with code 75.

Schedulers announce the end of a job by SIGTERM. 75 is EX_TEMPFAIL ("try again") of `sysexits.h`: a job script that sees
it can start the run once more with --resume.
"""

from __future__ import annotations

import logging
import signal
import threading
from types import FrameType

from detectron2.checkpoint import DetectionCheckpointer
from detectron2.engine import HookBase
from detectron2.utils import comm

from segvit.engine.optimization_step import OptimizationStep

logger = logging.getLogger(__name__)

EXIT_CODE = 75


class StopOnSigterm(HookBase):
    """Save a checkpoint and raise SystemExit(75) in all processes once one has received SIGTERM.

    It must come after the hooks that change weights or write files. With several processes, the others learn of it with
    the losses of the step, or of the next one. After a signal in the last iteration or evaluation the run ends as
    usual, and `wants_stop` of the trainer says that there was one.

    Args:
        checkpointer: writes the checkpoint.
        step: tells the other processes.
    """

    def __init__(self, checkpointer: DetectionCheckpointer, step: OptimizationStep) -> None:
        self._checkpointer = checkpointer
        self._step = step

    def before_train(self) -> None:
        # Python allows signal handlers in the main thread only; elsewhere the signal is left to the program.
        self._handles_signal = threading.current_thread() is threading.main_thread()
        if self._handles_signal:
            self._previous_handler = signal.signal(signal.SIGTERM, self._on_signal)

    def after_step(self) -> None:
        is_last = self.trainer.iter + 1 >= self.trainer.max_iter
        stops = self._step.wants_stop if comm.get_world_size() == 1 else self._step.stop_is_due
        if not stops or is_last:
            return
        self._step.settle()
        name = f"model_{self.trainer.iter:07d}"
        self._checkpointer.save(name, iteration=self.trainer.iter)
        comm.synchronize()  # no process exits before the file is written
        logger.warning(
            "SIGTERM: stopped after iteration %d, saved %s.pth. The same command continues, train_net.py with --resume",
            self.trainer.iter,
            name,
        )
        raise SystemExit(EXIT_CODE)

    def after_train(self) -> None:
        self.trainer.wants_stop = self._step.wants_stop
        if self._handles_signal:
            signal.signal(signal.SIGTERM, self._previous_handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._step.wants_stop = True
