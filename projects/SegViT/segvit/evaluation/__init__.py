"""Evaluators for Detectron2's `inference_on_dataset`."""

from segvit.evaluation.confusion_evaluator import SemSegConfusionEvaluator

__all__ = ["SemSegConfusionEvaluator"]
