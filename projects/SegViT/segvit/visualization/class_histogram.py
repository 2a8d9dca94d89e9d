"""`draw_class_histogram`: the class frequencies of each split of a dataset, as a bar chart.

Shape shorthand in this module: K: classes.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from segvit.visualization.figures import save_figure

# The height of a bar in inches; the figure grows with the number of classes.
BAR_HEIGHT = 0.11
# Longer class names are shortened: some of ADE20K's list five synonyms.
MAX_NAME_LENGTH = 32


def draw_class_histogram(
    frequencies: Mapping[str, np.ndarray], classes: Sequence[str], output: str | os.PathLike[str]
) -> None:
    """Draw the fraction of each class among the labelled pixels of each split, on a logarithmic axis, as a PNG.

    Args:
        frequencies: by split, (K,) fractions from 0 to 1. A class without a pixel has no bar.
        classes: the K names.
        output: the PNG file.
    """
    rows = len(classes)
    bars = max(len(frequencies), 1)
    figure = Figure(figsize=(8, max(rows * (bars + 1) * BAR_HEIGHT, 1.5) + 0.8), layout="constrained")
    axes = figure.subplots()
    present = [value for values in frequencies.values() for value in values if value > 0]
    floor = min(present, default=0.01) / 2
    for index, (split, values) in enumerate(frequencies.items()):
        offset = (index - (bars - 1) / 2) * 0.8 / bars
        axes.barh(np.arange(rows) + offset, np.maximum(values - floor, 0), 0.8 / bars, left=floor, label=split)
    axes.set_xscale("log")
    axes.set_xlim(floor, 1)
    axes.xaxis.set_major_formatter(lambda fraction, _: f"{100 * fraction:g} %")
    axes.set_xlabel("fraction of labelled pixels")
    names = [name if len(name) <= MAX_NAME_LENGTH else f"{name[: MAX_NAME_LENGTH - 3]}..." for name in classes]
    axes.set_yticks(range(rows), [f"{class_id} {name}" for class_id, name in enumerate(names)], fontsize=8)
    axes.set_ylim(rows - 0.5, -0.5)
    axes.grid(axis="x", alpha=0.3)
    figure.legend(loc="outside upper right", ncols=bars, frameon=False, fontsize=9)
    save_figure(figure, output, dpi=100)
