"""mIoU over the steps of continual segmentation."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from matplotlib.figure import Figure

PANELS = {"mIoU_base": "base classes", "mIoU_new": "new classes", "mIoU_all": "all classes so far"}


class Step(Protocol):
    """What is drawn of a step: its index, and metrics in per cent, None where there is no value."""

    step: int
    metrics: Mapping[str, float | None]


def draw_continual_curves(results: Mapping[str, Sequence[Step]], output: str | os.PathLike[str]) -> None:
    """Draw base, new and all classes, a line per method over its steps; a method of one step is a dashed level."""
    figure = Figure(figsize=(12, 3.8), layout="constrained")
    panels = figure.subplots(1, len(PANELS), sharey=True)
    last_step = max(steps[-1].step for steps in results.values())
    for axes, (name, title) in zip(panels, PANELS.items(), strict=True):
        for method, steps in results.items():
            points = [(step.step, value) for step in steps if (value := step.metrics.get(name)) is not None]
            if len(steps) == 1 and points:
                axes.axhline(points[0][1], linestyle="--", color="grey", linewidth=1)
                axes.annotate(method, (0, points[0][1]), (2, 3), textcoords="offset points", color="grey")
            elif points:
                axes.plot(*zip(*points, strict=True), marker="o", markersize=4, label=method)
                axes.annotate(f"{points[-1][1]:.1f}", points[-1], (4, -12), textcoords="offset points")
        axes.set_title(title)
        axes.set_xlabel("step")
        axes.set_xticks(range(last_step + 1))
        axes.set_xlim(-0.15, last_step + 0.3)
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("validation mIoU (%)")
    panels[0].set_ylim(0, 1.05 * panels[0].get_ylim()[1])
    if panels[0].get_legend_handles_labels()[0]:
        panels[0].legend(frameon=False, loc="lower left")
    Path(output).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(output, dpi=110)
