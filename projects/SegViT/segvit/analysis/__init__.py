"""Parameter counts, multiply-accumulates and timings of models."""

from segvit.analysis.macs import (
    MacCounts,
    ParamCounts,
    count_image_macs,
    count_macs,
    count_module_macs,
    count_params,
    weightless_copy,
)
from segvit.analysis.timing import TimingSummary, summarize, time_rounds

__all__ = [
    "MacCounts",
    "ParamCounts",
    "TimingSummary",
    "count_image_macs",
    "count_macs",
    "count_module_macs",
    "count_params",
    "summarize",
    "time_rounds",
    "weightless_copy",
]
