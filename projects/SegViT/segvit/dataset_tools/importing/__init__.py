"""Import datasets as annotation tools export them: `tools/import_dataset.py`."""

from segvit.dataset_tools.importing.class_files import parse_classes
from segvit.dataset_tools.importing.class_plan import plan_classes
from segvit.dataset_tools.importing.dataset_writing import ImportReport
from segvit.dataset_tools.importing.import_run import import_source
from segvit.dataset_tools.importing.reading import FORMATS, read_source
from segvit.dataset_tools.importing.source import IGNORED_NAMES, DrawingRules, ReadOptions, Skipped

__all__ = [
    "FORMATS",
    "IGNORED_NAMES",
    "DrawingRules",
    "ImportReport",
    "ReadOptions",
    "Skipped",
    "import_source",
    "parse_classes",
    "plan_classes",
    "read_source",
]
