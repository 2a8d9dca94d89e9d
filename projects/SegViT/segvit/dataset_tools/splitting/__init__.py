"""Divide images into training, validation and test images, or into folds."""

from segvit.dataset_tools.splitting.split_options import SplitOptions
from segvit.dataset_tools.splitting.splits import PooledImage, Splits, make_splits

__all__ = ["PooledImage", "SplitOptions", "Splits", "make_splits"]
