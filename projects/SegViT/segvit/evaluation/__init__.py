"""Evaluators for Detectron2's `inference_on_dataset`."""

from segvit.evaluation.confusion_evaluator import SemSegConfusionEvaluator
from segvit.evaluation.continual_evaluator import ContinualEvaluator

__all__ = ["ContinualEvaluator", "SemSegConfusionEvaluator"]
