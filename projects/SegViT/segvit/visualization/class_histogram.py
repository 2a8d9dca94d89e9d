"""Shares of pixels by class.

Shape shorthand: K classes.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from segvit.visualization.figures import save_figure

# Bars never get thinner than this, in inches; the figure grows with the number of classes.
BAR_HEIGHT = 0.11
# Characters of a class name that are shown: some of ADE20K's list five synonyms.
MAX_NAME = 32


def draw_class_histogram(
    shares: Mapping[str, np.ndarray], classes: Sequence[str], output: str | os.PathLike[str]
) -> None:
    """Draw the share of each class in the labelled pixels of each split, on a logarithmic axis, into a PNG.

    Args:
        shares: (K,) from 0 to 1, by split. A class without a pixel has no bar.
        classes: K names.
        output: the file.
    """
    rows, bars = len(classes), max(len(shares), 1)
    figure = Figure(figsize=(8, max(rows * (bars + 1) * BAR_HEIGHT, 1.5) + 0.8), layout="constrained")
    axes = figure.subplots()
    present = [share for values in shares.values() for share in values if share > 0]
    floor = min(present, default=0.01) / 2
    for index, (split, values) in enumerate(shares.items()):
        offset = (index - (bars - 1) / 2) * 0.8 / bars
        axes.barh(np.arange(rows) + offset, np.maximum(values - floor, 0), 0.8 / bars, left=floor, label=split)
    axes.set_xscale("log")
    axes.set_xlim(floor, 1)
    axes.xaxis.set_major_formatter(lambda share, _: f"{100 * share:g} %")
    axes.set_xlabel("share of labelled pixels")
    names = [name if len(name) <= MAX_NAME else f"{name[: MAX_NAME - 3]}..." for name in classes]
    axes.set_yticks(range(rows), [f"{class_id} {name}" for class_id, name in enumerate(names)], fontsize=8)
    axes.set_ylim(rows - 0.5, -0.5)
    axes.grid(axis="x", alpha=0.3)
    figure.legend(loc="outside upper right", ncols=max(len(shares), 1), frameon=False, fontsize=9)
    save_figure(figure, output, dpi=100)
