"""From a benchmark as it is distributed to what its registration reads: the steps behind `datasets/prepare_*.py`."""

from segvit.data.preparation.distribution import Distribution, Picture, Problem, Split
from segvit.data.preparation.label_table import LabelTable
from segvit.data.preparation.prepare import prepare

__all__ = ["Distribution", "LabelTable", "Picture", "Problem", "Split", "prepare"]
