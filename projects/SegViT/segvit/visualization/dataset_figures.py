"""Figures of a dataset: `draw_class_histogram`, a bar chart, and `draw_contact_sheet`, images with their label maps.

Shape shorthand: H x W pixels of an image, K classes.
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from segvit.classes.palette import Color
from segvit.errors import UserError
from segvit.visualization.figures import save_figure
from segvit.visualization.fonts import readable_names, shorten
from segvit.visualization.overlays import add_class_legend, blend_labels, legend_height

# Sizes of the histogram in inches. The figure grows with the number of classes.
BAR_HEIGHT = 0.11
PLOT_WIDTH = 5.0
MARGIN = 0.6
CHARACTER_WIDTH = 0.07

# Cells in a row of a contact sheet.
COLUMNS = 4
# Width of a cell in pixels; larger images are reduced to it before they are drawn.
CELL_WIDTH = 320
CELL_INCHES = 3.0
# The legend lists the classes with the most pixels on the sheet.
MAX_LEGEND_CLASSES = 40


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
    labels = [f"{class_id} {shorten(name)}" for class_id, name in enumerate(readable_names(classes))]
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


def _columns(text: str) -> int:
    """The width of a text in Latin characters: Chinese, Japanese and Korean ones are twice as wide."""
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)


@dataclass(frozen=True)
class Cell:
    """One image of the sheet: (H, W, 3) uint8 RGB, its label map (H, W), and its title."""

    image: np.ndarray
    labels: np.ndarray
    title: str


def make_cell(image: np.ndarray, labels: np.ndarray, title: str) -> Cell:
    """A cell of at most `CELL_WIDTH` columns, so that a sheet of large images takes little memory."""
    height, width = labels.shape
    if width > CELL_WIDTH:
        size = (CELL_WIDTH, max(round(height * CELL_WIDTH / width), 1))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        labels = cv2.resize(labels.astype(np.float32), size, interpolation=cv2.INTER_NEAREST).astype(np.int64)
    return Cell(image, labels, title)


def draw_contact_sheet(
    cells: Sequence[Cell], classes: Sequence[str], colors: Sequence[Color], output: str | os.PathLike[str]
) -> None:
    """Draw the cells and a legend of their most frequent classes, as a PNG. Ignored pixels are dark.

    Raises UserError if there are no cells.
    """
    if not cells:
        raise UserError("a contact sheet needs at least one cell")
    rows = -(-len(cells) // COLUMNS)
    ratio = float(np.median([cell.labels.shape[0] / cell.labels.shape[1] for cell in cells]))
    counts = np.zeros(len(classes), dtype=np.int64)
    for cell in cells:
        counts += np.bincount(cell.labels[cell.labels < len(classes)].ravel(), minlength=len(classes))
    largest = np.argsort(-counts, kind="stable")[:MAX_LEGEND_CLASSES]
    present = sorted(int(class_id) for class_id in largest if counts[class_id])
    names = [readable_names(classes)[index] for index in present]
    width = COLUMNS * CELL_INCHES
    height = rows * (CELL_INCHES * ratio + 0.25) + legend_height(names, width)
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(rows, COLUMNS, squeeze=False).flat
    for axis, cell in zip(axes, cells, strict=False):
        axis.imshow(blend_labels(cell.image, cell.labels, colors))
        axis.set_title(cell.title, fontsize=8)
    for axis in figure.axes:
        axis.set_axis_off()
    add_class_legend(figure, names, [colors[index] for index in present])
    save_figure(figure, output, dpi=80)
