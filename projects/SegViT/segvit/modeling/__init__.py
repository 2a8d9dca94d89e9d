"""The model, on PyTorch and timm alone: no file in this folder imports Detectron2."""

from segvit.modeling.build_segvit import build_segvit
from segvit.modeling.segvit import SegViT

__all__ = ["SegViT", "build_segvit"]
