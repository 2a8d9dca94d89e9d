"""Training: the trainer, its optimization step and hooks, preflight checks, and the processes of a job."""

from segvit.engine.trainer import Trainer

__all__ = ["Trainer"]
