"""Decoders: feature maps to class and mask logits."""
