"""Parameter counts, multiply-accumulates and timings of models."""

from segvit.analysis.macs import (
    MacCounts,
    ParamCounts,
    count_macs,
    count_module_macs,
    count_params,
    mean_macs,
    weightless_copy,
)
from segvit.analysis.timing import TimingSummary, spread_text, summarize, time_rounds

__all__ = [
    "MacCounts",
    "ParamCounts",
    "TimingSummary",
    "count_macs",
    "count_module_macs",
    "count_params",
    "mean_macs",
    "spread_text",
    "summarize",
    "time_rounds",
    "weightless_copy",
]
