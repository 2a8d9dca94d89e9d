"""Examines data sets before a model is trained on them: `tools/check_dataset.py`."""

from segvit.dataset_tools.doctor.conversion import convert_in_place, convert_to_folder, palette_of, read_palette
from segvit.dataset_tools.doctor.examination import Diagnosis, examine
from segvit.dataset_tools.doctor.finding import Finding
from segvit.dataset_tools.doctor.report import as_json, describe
from segvit.dataset_tools.doctor.subject import Subject, open_subject

__all__ = [
    "Diagnosis",
    "Finding",
    "Subject",
    "as_json",
    "convert_in_place",
    "convert_to_folder",
    "describe",
    "examine",
    "open_subject",
    "palette_of",
    "read_palette",
]
