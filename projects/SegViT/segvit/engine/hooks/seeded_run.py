"""`SeededRun`: random numbers follow from (run seed, iteration, rank), so that a resumed run equals an unbroken one.

No generator's state has to be saved, because every process seeds its generators anew before each iteration.
"""

from __future__ import annotations

import torch
from detectron2.engine import HookBase
from detectron2.utils import comm

from segvit.data.sample_stream import BatchStream, mixed_seed, seed_randomness


class SeededRun(HookBase):
    """Seed python, numpy and torch before each step, and start the data at `start_iter`; must be the first hook.

    Args:
        batches: the training data. Its seed is the run's seed, which checkpoints store.
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
        # Seeds of samples mix two numbers and this one mixes three, so that no iteration shares a sample's seed.
        seed = mixed_seed(self._batches.seed, self.trainer.iter, comm.get_rank() + 1)
        seed_randomness(seed)
        if torch.cuda.is_available():
            # Of all GPUs: MODEL.DEVICE may name another one than the current one.
            torch.cuda.manual_seed_all(seed)
