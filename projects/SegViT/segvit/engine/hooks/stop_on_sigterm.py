"""SIGTERM, by which schedulers announce the end of a job: save behind the running iteration, and exit.

The exit code is that of `sysexits.h` for "try again": a job script can start the run once more with --resume.
"""

from __future__ import annotations

import logging
import signal
import threading
from types import FrameType

import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.engine import HookBase
from detectron2.utils import comm

from segvit.engine.any_process import any_process

logger = logging.getLogger(__name__)

STOPPED = 75


class StopOnSigterm(HookBase):
    """Once one process has got the signal, write a checkpoint and raise SystemExit(75) in all; comes behind evaluation.

    In the last iteration there is nothing to stop: the run ends as always.

    Args:
        checkpointer: writes the file.
        device: see `any_process`.
    """

    def __init__(self, checkpointer: DetectionCheckpointer, device: torch.device) -> None:
        self._checkpointer = checkpointer
        self._device = device
        self._asked = False

    def before_train(self) -> None:
        # Python takes handlers in the main thread alone; a run elsewhere leaves the signal to its program.
        self._listens = threading.current_thread() is threading.main_thread()
        if self._listens:
            self._before = signal.signal(signal.SIGTERM, self._notice)

    def after_step(self) -> None:
        if not any_process(self._asked, self._device) or self.trainer.iter + 1 >= self.trainer.max_iter:
            return
        name = f"model_{self.trainer.iter:07d}"
        self._checkpointer.save(name, iteration=self.trainer.iter)
        comm.synchronize()  # none leaves before the file is there
        logger.warning("Stopped by SIGTERM behind iteration %d; %s.pth goes on with --resume", self.trainer.iter, name)
        raise SystemExit(STOPPED)

    def after_train(self) -> None:
        if self._listens:
            signal.signal(signal.SIGTERM, self._before)

    def _notice(self, number: int, frame: FrameType | None) -> None:
        self._asked = True
