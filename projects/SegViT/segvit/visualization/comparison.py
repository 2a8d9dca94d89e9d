"""Validation mIoU of several encoders under one budget."""

from __future__ import annotations

import os
from collections.abc import Mapping

from matplotlib.figure import Figure

from segvit.visualization.curves import Series
from segvit.visualization.figure_file import save_figure


def draw_comparison(curves: Mapping[str, Series], title: str, output: str | os.PathLike[str]) -> None:
    """Draw mIoU against iterations, one line per name, into a PNG."""
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    for name, (iterations, scores) in curves.items():
        axes.plot(iterations, scores, marker="o", markersize=4, label=f"{name} ({scores[-1]:.1f})")
    axes.set_title(title, fontsize=11)
    axes.set_xlabel("iteration")
    axes.set_ylabel("validation mIoU (%)")
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    save_figure(figure, output, dpi=110)
