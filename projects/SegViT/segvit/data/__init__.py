"""Image reading, augmentation, the dataset mapper and the training loader. Importing it registers the datasets."""

from segvit import datasets
from segvit.data.dataset_mapper import SegViTSemanticDatasetMapper

__all__ = ["SegViTSemanticDatasetMapper", "datasets"]
