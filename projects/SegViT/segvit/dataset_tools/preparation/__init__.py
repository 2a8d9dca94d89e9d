"""From a benchmark as it is distributed to what its registration reads: the steps behind `datasets/prepare_*.py`."""

from segvit.dataset_tools.preparation.distribution import Distribution, Picture, Problem, Split
from segvit.dataset_tools.preparation.label_table import LabelTable
from segvit.dataset_tools.preparation.prepare import prepare

__all__ = ["Distribution", "LabelTable", "Picture", "Problem", "Split", "prepare"]
