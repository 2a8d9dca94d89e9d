"""All randomness of a run follows from one seed and the iteration, so that a resumed run goes on as the unbroken one.

Nothing of a random generator's state has to be saved: at the start of each iteration every process seeds its own anew.
"""

from __future__ import annotations

import torch
from detectron2.engine import HookBase
from detectron2.utils import comm

from segvit.data.sample_stream import BatchStream, mixed_seed, seed_randomness


class SeededRun(HookBase):
    """Seeds python, numpy and torch before each iteration, and enters the data at the first one; comes first of all.

    Args:
        batches: the training data, whose seed is the run's; checkpoints hold it.
    """

    def __init__(self, batches: BatchStream) -> None:
        self._batches = batches

    def state_dict(self) -> dict[str, int]:
        return {"seed": self._batches.seed}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        self._batches.seed = state_dict["seed"]

    def before_train(self) -> None:
        self._batches.start = self.trainer.start_iter

    def before_step(self) -> None:
        # One more number than a sample's seed has: no iteration draws what a sample drew.
        seed = mixed_seed(self._batches.seed, self.trainer.iter, comm.get_rank() + 1)
        seed_randomness(seed)
        if torch.cuda.is_available():
            # Of all GPUs: MODEL.DEVICE may name another one than the current one.
            torch.cuda.manual_seed_all(seed)
