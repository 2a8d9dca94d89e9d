"""How many multiply-accumulates a machine does in matrix products: what a model's rate is held against."""

from __future__ import annotations

import statistics

import torch

from segvit.analysis.timing import time_rounds

SIZE = 2048


def matrix_peak_gmacs(device: torch.device, dtype: torch.dtype, *, rounds: int = 5) -> float:
    """10^9 multiply-accumulates per second of square matrix products, by the median of some rounds."""
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.randn(SIZE, SIZE, generator=generator).to(device, dtype) for _ in range(2))
    seconds = time_rounds({"matrices": lambda: left @ right}, rounds=rounds, device=device)
    return SIZE**3 / 1e9 / statistics.median(seconds["matrices"])
