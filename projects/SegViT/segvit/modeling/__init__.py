"""The model, on torch and timm alone: no file in this folder imports Detectron2."""
