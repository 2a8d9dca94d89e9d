"""Decoder outputs to scores or labels at image size."""
