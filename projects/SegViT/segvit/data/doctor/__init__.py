"""Examines data sets before a model is trained on them: `tools/check_dataset.py`."""

from segvit.data.doctor.conversion import convert_in_place, convert_to_folder, palette_of, read_palette
from segvit.data.doctor.examination import Diagnosis, examine
from segvit.data.doctor.finding import Finding
from segvit.data.doctor.report import as_json, describe
from segvit.data.doctor.subject import Subject, open_subject

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
