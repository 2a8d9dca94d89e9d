"""Training and evaluation on Detectron2's engine."""

from segvit.engine.trainer import Trainer

__all__ = ["Trainer"]
