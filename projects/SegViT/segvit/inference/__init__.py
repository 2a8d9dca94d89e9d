"""Inference with a trained model: images in, labels or scores out."""

from segvit.images.given_images import ImageLike, load_image
from segvit.inference.predictor import SegViTPredictor

__all__ = ["ImageLike", "SegViTPredictor", "load_image"]
