"""Curves of runs: loss and mIoU, encoders or heads side by side, and mIoU over the steps of continual segmentation.

`read_metrics` reads what the first two draw from `metrics.json`, which every run writes.
"""

from __future__ import annotations

import json
import os
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Literal, Protocol

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from segvit.errors import UserError
from segvit.visualization.figures import save_figure

# Iterations, and the value at each.
Series = tuple[list[int], list[float]]

# The mIoU curves of a run's test sets.
LINE_STYLES = ("-", "--", ":", "-.")
# Ticks of the loss's axis.
MIN_TICKS = 3
MAX_TICKS = 12

# Metric of a continual step -> title of its panel.
CONTINUAL_PANELS = {"mIoU_base": "base classes", "mIoU_new": "new classes", "mIoU_all": "all classes so far"}


class ContinualStepResult(Protocol):
    """One evaluated step: its index, and metrics in percent, None for a metric without a pixel to count."""

    @property
    def step(self) -> int: ...

    @property
    def metrics(self) -> Mapping[str, float | None]: ...


def read_metrics(run_folder: str | os.PathLike[str], name: str) -> Series:
    """Iterations and values of one metric of a run, such as "total_loss" or "sem_seg/mIoU"; see `read_all_metrics`."""
    return read_all_metrics(run_folder).get(name, ([], []))


def read_scores(run_folder: str | os.PathLike[str]) -> dict[str, Series]:
    """The mIoU of each test set of a run; the name of the test set is empty if there is one alone."""
    suffix = "sem_seg/mIoU"
    metrics = read_all_metrics(run_folder)
    return {name.removesuffix(suffix).rstrip("/"): values for name, values in metrics.items() if name.endswith(suffix)}


def read_all_metrics(run_folder: str | os.PathLike[str]) -> dict[str, Series]:
    """Iterations and values of every metric of a run, by name.

    Skips a line that a killed run left unfinished. If the iterations of a metric go back, because a run was resumed or
    started anew in the same folder, the values of later iterations before that do not count.

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
    values: dict[str, dict[int, float]] = {}
    for line in lines:
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            continue
        if isinstance(record, dict) and "iteration" in record:
            for name, value in record.items():
                points = values.setdefault(name, {})
                while points and next(reversed(points)) >= record["iteration"]:
                    points.popitem()
                points[record["iteration"]] = value
    return {name: (list(points), list(points.values())) for name, points in values.items()}


def draw_training_curves(run_folders: Sequence[str | os.PathLike[str]], output: str | os.PathLike[str]) -> None:
    """Draw training loss and validation mIoU against iterations: a colour per run, a mIoU curve per test set.

    Raises:
        FileNotFoundError: if a folder has no metrics.json.
        UserError: if metrics.json is not a text file or holds no loss.
    """
    figure = Figure(figsize=(10, 4), layout="constrained")
    loss_axes, score_axes = figure.subplots(1, 2)
    names = [Path(folder).resolve().name for folder in run_folders]
    for index, folder in enumerate(run_folders):
        name = names[index] if names.count(names[index]) == 1 else str(folder)
        color = f"C{index}"
        iterations, losses = read_metrics(folder, "total_loss")
        if not losses:
            raise UserError(f"{Path(folder, 'metrics.json')} holds no loss yet: there is nothing to draw")
        marker = "o" if len(losses) == 1 else ""  # a line of one point is invisible
        loss_axes.plot(iterations, losses, label=name, linewidth=1, color=color, marker=marker, markersize=4)
        for style, (test_set, (iterations, scores)) in zip(cycle(LINE_STYLES), read_scores(folder).items()):
            label = f"{name}, {test_set}" if test_set else name
            score_axes.plot(iterations, scores, style, marker="o", markersize=4, label=label, color=color)
            last = f"{scores[-1]:.1f}"
            score_axes.annotate(last, (iterations[-1], scores[-1]), (-26, 8), textcoords="offset points")
    loss_axes.set_yscale("log")
    _set_readable_ticks(loss_axes)
    score_axes.set_ylim(0, 1.15 * score_axes.get_ylim()[1])
    for axes, title in ((loss_axes, "training loss"), (score_axes, "validation mIoU (%)")):
        axes.set_title(title)
        axes.set_xlabel("iteration")
        axes.grid(alpha=0.3)
        _add_legend(axes, "best" if axes is loss_axes else "lower right")
    save_figure(figure, output, dpi=110)


def _set_readable_ticks(axes: Axes) -> None:
    """Ticks of a logarithmic y axis as plain numbers: powers of ten, their doubles and halves, or closer ones."""
    low, high = axes.get_ylim()
    decades = LogLocator(subs=(1, 2, 5))
    num_ticks = sum(low <= tick <= high for tick in decades.tick_values(low, high))
    if num_ticks > MAX_TICKS:
        decades = LogLocator()
    axes.yaxis.set_major_locator(decades if num_ticks >= MIN_TICKS else MaxNLocator(MAX_TICKS // 2))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")


def _add_legend(axes: Axes, location: Literal["best", "lower right"]) -> None:
    """A legend of all lines; matplotlib leaves out labels that begin with an underscore, unless it gets the lines."""
    lines = [line for line in axes.get_lines() if isinstance(line.get_label(), str)]
    if lines:
        axes.legend(lines, [str(line.get_label()) for line in lines], frameon=False, loc=location)


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
    _add_legend(axes, "best")
    save_figure(figure, output, dpi=110)


@dataclass(frozen=True)
class SpreadCurve:
    """Scores over minutes, their mean and standard deviation over seeds; deviations are 0 for a single seed."""

    minutes: list[float]
    means: list[float]
    deviations: list[float]

    @classmethod
    def of(cls, minutes: list[float], scores: Sequence[Sequence[float]]) -> SpreadCurve:
        """Of the scores of each seed, as many as there are minutes."""
        by_time = list(zip(*scores, strict=True))
        deviations = [statistics.stdev(values) if len(values) > 1 else 0.0 for values in by_time]
        return cls(minutes, [statistics.fmean(values) for values in by_time], deviations)


def draw_over_minutes(
    panels: Mapping[str, Mapping[str, SpreadCurve]], title: str, output: str | os.PathLike[str], *, unit: str
) -> None:
    """Draw scores over minutes: a panel per score, a line per name, and bands of one standard deviation."""
    figure = Figure(figsize=(6 * len(panels), 4.5), layout="constrained")
    figure.suptitle(title, fontsize=11)
    for axes, (score, curves) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
        for index, (name, curve) in enumerate(curves.items()):
            axes.fill_between(
                curve.minutes,
                [mean - deviation for mean, deviation in zip(curve.means, curve.deviations, strict=True)],
                [mean + deviation for mean, deviation in zip(curve.means, curve.deviations, strict=True)],
                color=f"C{index}",
                alpha=0.15,
            )
            label = f"{name} ({curve.means[-1]:.1f})"
            axes.plot(curve.minutes, curve.means, marker="o", markersize=4, label=label, color=f"C{index}")
        axes.set_xlabel(unit)
        axes.set_ylabel(f"validation {score} (%)")
        axes.set_xlim(left=0)
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
        _add_legend(axes, "lower right")
    save_figure(figure, output, dpi=110)


def draw_continual_curves(results: Mapping[str, Sequence[ContinualStepResult]], output: str | os.PathLike[str]) -> None:
    """Draw mIoU of base, new and all classes over the steps, one line per method.

    A method with one step (joint training) becomes a dashed horizontal line.
    """
    figure = Figure(figsize=(12, 3.8), layout="constrained")
    panels = figure.subplots(1, len(CONTINUAL_PANELS), sharey=True)
    last_step = max(steps[-1].step for steps in results.values())
    # Room for the values at the right of the last step.
    left, right = -0.05 * last_step - 0.05, 1.15 * last_step + 0.15
    for axes, (name, title) in zip(panels, CONTINUAL_PANELS.items(), strict=True):
        for method, steps in results.items():
            points = [(step.step, value) for step in steps if (value := step.metrics.get(name)) is not None]
            if len(steps) == 1 and points:
                axes.axhline(points[0][1], linestyle="--", color="grey", linewidth=1)
                text = f"{method} {points[0][1]:.1f}"
                axes.annotate(
                    text, (right, points[0][1]), (-2, 3), textcoords="offset points", color="grey", ha="right"
                )
            elif points:
                axes.plot(*zip(*points, strict=True), marker="o", markersize=4, label=method)
                axes.annotate(f"{points[-1][1]:.1f}", points[-1], (4, -12), textcoords="offset points")
        axes.set_title(title)
        axes.set_xlabel("step")
        axes.set_xticks(range(last_step + 1))
        axes.set_xlim(left, right)
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("validation mIoU (%)")
    panels[0].set_ylim(0, 1.05 * panels[0].get_ylim()[1])
    if panels[0].get_legend_handles_labels()[0]:
        panels[0].legend(frameon=False, loc="lower left")
    save_figure(figure, output, dpi=110)
