"""Data sets, augmentation and the dataset mapper. Importing this package registers the data sets."""

from segvit import datasets
from segvit.data.dataset_mapper import SegViTSemanticDatasetMapper

__all__ = ["SegViTSemanticDatasetMapper", "datasets"]
