"""An exponential moving average of the weights: what is evaluated, and what a checkpoint holds as its model."""

from __future__ import annotations

from detectron2.config import CfgNode
from detectron2.engine import HookBase
from timm.utils import ModelEmaV3
from torch import nn

from segvit.errors import UserError


class WeightAverage(HookBase):
    """Updates the average behind every step; belongs before evaluation and saving.

    The average forgets faster at first (timm's warm-up: 1 - (1 + step) ** -2/3), so that it does not hold on to the
    initial weights; that follows from the iteration. Checkpoints hold the average as their "model", and the trained
    weights as the state of this hook.

    Args:
        model: that is trained; not wrapped for several processes.
        decay: the most that the average keeps of itself in a step.

    Attributes:
        averaged: the model with the averaged weights and statistics; what is loaded into it before the training, the
            trained one starts from.
    """

    def __init__(self, model: nn.Module, *, decay: float) -> None:
        if not 0 <= decay < 1:
            raise UserError(f"SOLVER.EMA.DECAY {decay} must be at least 0 and below 1")
        self._model = model
        self._average = ModelEmaV3(model, decay=decay, use_warmup=True)
        self.averaged = self._average.module.train()  # evaluation mode refuses weights that do not fill a model
        self._is_restored = False

    def state_dict(self) -> dict[str, object]:
        return {"trained_model": self._model.state_dict()}

    def load_state_dict(self, state_dict: dict[str, object]) -> None:
        self._model.load_state_dict(state_dict["trained_model"])
        self._is_restored = True

    def before_train(self) -> None:
        if not self._is_restored:
            self._model.load_state_dict(self.averaged.state_dict())

    def after_step(self) -> None:
        self._average.update(self._model, step=self.trainer.iter + 1)


def build_weight_average(cfg: CfgNode, model: nn.Module) -> WeightAverage | None:
    """What SOLVER.EMA asks for; None where it is off."""
    return WeightAverage(model, decay=cfg.SOLVER.EMA.DECAY) if cfg.SOLVER.EMA.ENABLED else None
