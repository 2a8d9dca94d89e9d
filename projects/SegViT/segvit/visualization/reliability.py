"""`draw_reliability`: accuracy against confidence, before and after calibration."""

from __future__ import annotations

import os
from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from segvit.visualization.figures import save_figure


def draw_reliability(
    curves: Mapping[str, tuple[np.ndarray, np.ndarray, np.ndarray]], output: str | os.PathLike[str]
) -> None:
    """Draw a panel for each curve, with the diagonal of a calibrated model.

    Args:
        curves: by title, the mean confidence, the accuracy and the number of pixels of each interval.
        output: the file.
    """
    figure = Figure(figsize=(4.5 * len(curves), 4.5), layout="constrained")
    for axes, (title, (confidence, accuracy, pixels)) in zip(
        np.atleast_1d(figure.subplots(1, len(curves), sharey=True)), curves.items(), strict=True
    ):
        edges = np.linspace(0, 1, len(pixels) + 1)
        axes.stairs(pixels / pixels.sum(), edges, fill=True, color="0.85", label="fraction of the pixels")
        axes.plot([0, 1], [0, 1], color="0.5", linestyle="--", linewidth=1)
        axes.plot(confidence, accuracy, marker="o", label="accuracy")
        axes.set(title=title, xlabel="confidence", xlim=(0, 1), ylim=(0, 1))
        axes.legend(loc="upper left")
    save_figure(figure, output, dpi=120)
