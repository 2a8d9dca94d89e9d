"""Segmenting pictures with a trained model: anything that holds a picture in, labels or scores out."""

from segvit.inference.images import Picture, read_picture
from segvit.inference.predictor import SegViTPredictor

__all__ = ["Picture", "SegViTPredictor", "read_picture"]
