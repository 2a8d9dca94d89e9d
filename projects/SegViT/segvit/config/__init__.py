"""Detectron2 configs: defaults, files, checks, and what a step of continual segmentation reads."""
