"""Training and evaluation on Detectron2's engine."""

from .trainer import Trainer

__all__ = ["Trainer"]
