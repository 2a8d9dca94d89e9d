"""Check a dataset before training: `tools/check_dataset.py`."""

from segvit.dataset_tools.doctor.checked_dataset import CheckedDataset, open_dataset
from segvit.dataset_tools.doctor.dataset_report import DatasetReport, check_dataset
from segvit.dataset_tools.doctor.finding import Finding
from segvit.dataset_tools.doctor.presentation import as_json, describe, draw_histogram, draw_samples

__all__ = [
    "CheckedDataset",
    "DatasetReport",
    "Finding",
    "as_json",
    "check_dataset",
    "describe",
    "draw_histogram",
    "draw_samples",
    "open_dataset",
]
