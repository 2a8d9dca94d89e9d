"""Training curves from the `metrics.json` that every run writes."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from segvit.errors import UserError
from segvit.visualization.figure_file import save_figure

Series = tuple[list[int], list[float]]


def read_metrics(run_folder: str | os.PathLike[str], name: str) -> Series:
    """Iterations and values of one metric of a run, such as "total_loss" or "sem_seg/mIoU".

    A line that a killed run left unfinished is skipped; of an iteration that a resumed run repeated, the last counts.

    Raises:
        FileNotFoundError: where the folder holds no metrics.json.
        UserError: where that is no text.
    """
    path = Path(run_folder) / "metrics.json"
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist: name the OUTPUT_DIR of a training run")
    values: dict[int, float] = {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is no text: name the OUTPUT_DIR of a training run") from error
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
    """Draw training loss and validation mIoU against iterations, one line per run, into a PNG.

    Raises FileNotFoundError or ValueError where a folder is not that of a run.
    """
    figure = Figure(figsize=(10, 4), layout="constrained")
    loss_axes, score_axes = figure.subplots(1, 2)
    for folder in run_folders:
        name, losses = Path(folder).resolve().name, read_metrics(folder, "total_loss")
        if not losses[0]:
            raise UserError(f"{Path(folder, 'metrics.json')} holds no loss yet: there is nothing to draw")
        loss_axes.plot(*losses, label=name, linewidth=1)
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
