"""Convert downloaded benchmarks to the layout that their registered datasets read: `datasets/prepare_*.py`."""

from segvit.dataset_tools.preparation.distribution import Distribution, LabelledImage, LabelTable, Problem, Split
from segvit.dataset_tools.preparation.prepare import prepare

__all__ = ["Distribution", "LabelTable", "LabelledImage", "Problem", "Split", "prepare"]
