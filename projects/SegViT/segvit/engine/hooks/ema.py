"""`EMAHook`: an exponential moving average of the weights (SOLVER.EMA), which is evaluated and saved as the model."""

from __future__ import annotations

from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.engine import HookBase
from timm.utils import ModelEmaV3
from torch import nn

from segvit.errors import UserError


class EMAHook(HookBase):
    """Update the average after every step; register it before evaluation and saving.

    The decay grows from 0 to `decay` (timm's warm-up: 1 - (1 + step) ** -2/3), so that the average forgets the initial
    weights; it depends on the iteration alone. In a checkpoint, "model" is the average, and the weights that the
    optimizer updates are the state of this hook. Both models share frozen parameters, which the file holds once.

    Args:
        model: the trained model, without a DistributedDataParallel wrapper.
        decay: the largest decay, at least 0 and below 1.

    Attributes:
        averaged: the model with the averaged weights and batch-norm statistics. Weights loaded into it before the
            training are copied into the trained model.

    Raises:
        UserError: for a decay out of range.
    """

    def __init__(self, model: nn.Module, *, decay: float) -> None:
        if not 0 <= decay < 1:
            raise UserError(f"SOLVER.EMA.DECAY {decay} must be at least 0 and below 1")
        self._model = model
        self._average = ModelEmaV3(model, decay=decay, use_warmup=True)
        # In evaluation mode `SegViT.load_state_dict` refuses weights that do not fill the model.
        self.averaged = self._average.module.train()
        _share_frozen_parameters(self.averaged, model)
        self._is_restored = False

    def state_dict(self) -> dict[str, Any]:
        return {"trained_model": self._model.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._model.load_state_dict(state_dict["trained_model"])
        self._is_restored = True

    def before_train(self) -> None:
        if not self._is_restored:
            self._model.load_state_dict(self.averaged.state_dict())

    @torch.no_grad()
    def after_step(self) -> None:
        decay = self._average.get_decay(self.trainer.iter + 1)
        averaged, trained = (module.state_dict(keep_vars=True).values() for module in (self.averaged, self._model))
        # Shared parameters stay as they are: timm would round those in bfloat16 stochastically, in both models.
        pairs = [pair for pair in zip(averaged, trained, strict=True) if pair[0] is not pair[1]]
        floating = [pair for pair in pairs if pair[0].is_floating_point()]
        if floating:
            averages, values = zip(*floating, strict=True)
            # There is no public function for many tensors.
            torch._foreach_lerp_(averages, values, 1 - decay)
        for average, value in pairs:
            if not average.is_floating_point():
                average.copy_(value)


def _share_frozen_parameters(average: nn.Module, model: nn.Module) -> None:
    """Give a copy of a model the model's own parameters where they are not trained."""
    modules = dict(model.named_modules())
    for prefix, module in average.named_modules():
        for name, parameter in modules[prefix].named_parameters(recurse=False):
            if not parameter.requires_grad:
                setattr(module, name, parameter)


def build_ema(cfg: CfgNode, model: nn.Module) -> EMAHook | None:
    """Build the hook if SOLVER.EMA.ENABLED, else return None."""
    return EMAHook(model, decay=cfg.SOLVER.EMA.DECAY) if cfg.SOLVER.EMA.ENABLED else None
