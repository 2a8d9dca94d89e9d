"""`draw_class_histogram`: the class frequencies of each split of a dataset, as a bar chart.

Shape shorthand: K classes.
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from segvit.visualization.figures import save_figure
from segvit.visualization.fonts import readable_names

# Sizes in inches. The figure grows with the number of classes.
BAR_HEIGHT = 0.11
PLOT_WIDTH = 5.0
MARGIN = 0.6
CHARACTER_WIDTH = 0.07
# Longer class names are shortened: some of ADE20K's list five synonyms.
MAX_NAME_LENGTH = 32


def draw_class_histogram(
    frequencies: Mapping[str, np.ndarray], classes: Sequence[str], output: str | os.PathLike[str]
) -> None:
    """Draw the fraction of each class among the labelled pixels of each split, on a logarithmic axis, as a PNG.

    A class costs one text: the bars of a split are one collection, and no layout engine measures the texts.

    Args:
        frequencies: by split, (K,) fractions from 0 to 1. A class without a pixel has no bar.
        classes: the K names.
        output: the PNG file.
    """
    bars = max(len(frequencies), 1)
    labels = [f"{class_id} {_shorten(name)}" for class_id, name in enumerate(readable_names(classes))]
    plot_height = max(len(classes) * (bars + 1) * BAR_HEIGHT, 1.0)
    left = max(map(_columns, labels), default=0) * CHARACTER_WIDTH + 0.2
    width, height = left + PLOT_WIDTH + MARGIN / 2, plot_height + 2 * MARGIN
    figure = Figure(figsize=(width, height))
    axes = figure.add_axes((left / width, MARGIN / height, PLOT_WIDTH / width, plot_height / height))

    # Bars, each split beside the others.
    present = [value for values in frequencies.values() for value in values if value > 0]
    floor = min(present, default=0.01) / 2
    for index, (split, values) in enumerate(frequencies.items()):
        has_bar = values > 0
        rows = np.flatnonzero(has_bar) + (index - (bars - 1) / 2) / (bars + 1)
        axes.hlines(rows, floor, values[has_bar], color=f"C{index}", linewidth=BAR_HEIGHT * 72, label=split)

    # Axes: fractions below, class names on the left.
    axes.set_xscale("log")
    axes.set_xlim(floor, 1)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if floor > 0.01 else (1,)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(lambda fraction, _: f"{100 * fraction:g} %")
    axes.set_xlabel("fraction of labelled pixels")
    axes.set_yticks([])
    axes.set_ylim(len(classes) - 0.5, -0.5)
    for row, label in enumerate(labels):
        axes.text(-0.01, row, label, transform=axes.get_yaxis_transform(), ha="right", va="center", fontsize=8)
    axes.grid(axis="x", alpha=0.3)
    figure.legend(loc="upper right", ncols=bars, frameon=False, fontsize=9)
    save_figure(figure, output, dpi=100)


def _shorten(name: str) -> str:
    return name if len(name) <= MAX_NAME_LENGTH else f"{name[: MAX_NAME_LENGTH - 3]}..."


def _columns(text: str) -> int:
    """The width of a text in Latin characters: Chinese, Japanese and Korean ones are twice as wide."""
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)
