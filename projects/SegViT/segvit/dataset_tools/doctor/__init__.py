"""Check a dataset before training, and convert colour label maps to class ids: `tools/check_dataset.py`."""

from segvit.dataset_tools.doctor.checked_dataset import CheckedDataset, open_dataset
from segvit.dataset_tools.doctor.color_conversion import convert_in_place, convert_to_folder, palette_of, read_palette
from segvit.dataset_tools.doctor.dataset_report import DatasetReport, check_dataset
from segvit.dataset_tools.doctor.finding import Finding
from segvit.dataset_tools.doctor.presentation import as_json, describe, draw_histogram, draw_samples

__all__ = [
    "CheckedDataset",
    "DatasetReport",
    "Finding",
    "as_json",
    "check_dataset",
    "convert_in_place",
    "convert_to_folder",
    "describe",
    "draw_histogram",
    "draw_samples",
    "open_dataset",
    "palette_of",
    "read_palette",
]
