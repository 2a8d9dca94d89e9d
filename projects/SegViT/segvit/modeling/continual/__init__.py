"""Continual segmentation: groups of classes, and a decoder for each."""
