"""`Stopwatch`: the time of a training, also of one that was interrupted and resumed."""

from __future__ import annotations

import time
from typing import Any

from detectron2.engine import HookBase


class Stopwatch(HookBase):
    """Adds up the seconds, and those of this process on the CPU, that led to the weights of the run.

    Every checkpoint holds them, so a resumed run goes on from there. What an interrupted call did after its last
    checkpoint does not count, since it is done again.
    """

    def __init__(self) -> None:
        self._earlier = (0.0, 0.0)
        self._start = (time.perf_counter(), time.process_time())

    def before_train(self) -> None:
        self._start = (time.perf_counter(), time.process_time())

    @property
    def seconds(self) -> float:
        return self._earlier[0] + time.perf_counter() - self._start[0]

    @property
    def cpu_seconds(self) -> float:
        return self._earlier[1] + time.process_time() - self._start[1]

    def state_dict(self) -> dict[str, Any]:
        return {"seconds": self.seconds, "cpu_seconds": self.cpu_seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._earlier = (state_dict["seconds"], state_dict["cpu_seconds"])
