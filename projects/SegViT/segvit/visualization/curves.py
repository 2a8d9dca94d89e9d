"""Curves of runs: training loss and mIoU, encoders side by side, and mIoU over the steps of continual segmentation.

`read_metrics` reads what the first two draw from `metrics.json`, which every run writes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from matplotlib.figure import Figure

from segvit.errors import UserError
from segvit.visualization.figures import save_figure

# Iterations, and the value at each.
Series = tuple[list[int], list[float]]

# Metric of a continual step -> title of its panel.
CONTINUAL_PANELS = {"mIoU_base": "base classes", "mIoU_new": "new classes", "mIoU_all": "all classes so far"}


class ContinualStepResult(Protocol):
    """One evaluated step: its index, and metrics in percent, None for a metric without a pixel to count."""

    @property
    def step(self) -> int: ...

    @property
    def metrics(self) -> Mapping[str, float | None]: ...


def read_metrics(run_folder: str | os.PathLike[str], name: str) -> Series:
    """Iterations and values of one metric of a run, such as "total_loss" or "sem_seg/mIoU".

    Skips a line that a killed run left unfinished. If a resumed run repeated an iteration, its last value counts.

    Raises:
        FileNotFoundError: if the folder has no metrics.json.
        UserError: if metrics.json is not a text file.
    """
    path = Path(run_folder) / "metrics.json"
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist: name the OUTPUT_DIR of a training run")
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not a text file: name the OUTPUT_DIR of a training run") from error
    values: dict[int, float] = {}
    for line in lines:
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            continue
        if isinstance(record, dict) and "iteration" in record and name in record:
            values[record["iteration"]] = record[name]
    iterations = sorted(values)
    return iterations, [values[iteration] for iteration in iterations]


def draw_training_curves(run_folders: Sequence[str | os.PathLike[str]], output: str | os.PathLike[str]) -> None:
    """Draw training loss and validation mIoU against iterations, one line per run.

    Raises:
        FileNotFoundError: if a folder has no metrics.json.
        UserError: if metrics.json is not a text file or holds no loss.
    """
    figure = Figure(figsize=(10, 4), layout="constrained")
    loss_axes, score_axes = figure.subplots(1, 2)
    for folder in run_folders:
        name = Path(folder).resolve().name
        iterations, losses = read_metrics(folder, "total_loss")
        if not losses:
            raise UserError(f"{Path(folder, 'metrics.json')} holds no loss yet: there is nothing to draw")
        loss_axes.plot(iterations, losses, label=name, linewidth=1)
        iterations, scores = read_metrics(folder, "sem_seg/mIoU")
        score_axes.plot(iterations, scores, marker="o", markersize=4, label=name)
        if scores:
            score_axes.annotate(f"{scores[-1]:.1f}", (iterations[-1], scores[-1]), (-26, 8), textcoords="offset points")
    loss_axes.set_yscale("log")
    score_axes.set_ylim(0, 1.15 * score_axes.get_ylim()[1])
    for axes, title in ((loss_axes, "training loss"), (score_axes, "validation mIoU (%)")):
        axes.set_title(title)
        axes.set_xlabel("iteration")
        axes.grid(alpha=0.3)
        axes.legend(frameon=False, loc="best" if axes is loss_axes else "lower right")
    save_figure(figure, output, dpi=110)


def draw_comparison(curves: Mapping[str, Series], title: str, output: str | os.PathLike[str]) -> None:
    """Draw validation mIoU against iterations, one line per name."""
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


def draw_continual_curves(results: Mapping[str, Sequence[ContinualStepResult]], output: str | os.PathLike[str]) -> None:
    """Draw mIoU of base, new and all classes over the steps, one line per method.

    A method with one step (joint training) becomes a dashed horizontal line.
    """
    figure = Figure(figsize=(12, 3.8), layout="constrained")
    panels = figure.subplots(1, len(CONTINUAL_PANELS), sharey=True)
    last_step = max(steps[-1].step for steps in results.values())
    for axes, (name, title) in zip(panels, CONTINUAL_PANELS.items(), strict=True):
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
    save_figure(figure, output, dpi=110)
