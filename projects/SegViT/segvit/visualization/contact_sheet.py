"""`draw_contact_sheet`: a grid of images with their label maps in colour.

Shape shorthand: H x W pixels of an image, K classes.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from matplotlib.figure import Figure

from segvit.errors import UserError
from segvit.visualization.figures import save_figure
from segvit.visualization.fonts import readable_names
from segvit.visualization.overlays import Color, add_class_legend, blend_labels

COLUMNS = 4
# Width of a cell in pixels; larger images are reduced to it before they are drawn.
CELL_WIDTH = 320
CELL_INCHES = 3.0
# The legend lists the classes with the most pixels on the sheet.
MAX_LEGEND_CLASSES = 40


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
    names = readable_names(classes)
    present = sorted(int(class_id) for class_id in largest if counts[class_id])
    legend_height = 0.3 * -(-len(present) // 8) + 0.2
    figure = Figure(
        figsize=(COLUMNS * CELL_INCHES, rows * (CELL_INCHES * ratio + 0.25) + legend_height), layout="constrained"
    )
    axes = figure.subplots(rows, COLUMNS, squeeze=False).flat
    for axis, cell in zip(axes, cells, strict=False):
        axis.imshow(blend_labels(cell.image, cell.labels, colors))
        axis.set_title(cell.title, fontsize=8)
    for axis in figure.axes:
        axis.set_axis_off()
    add_class_legend(figure, [names[index] for index in present], [colors[index] for index in present])
    save_figure(figure, output, dpi=80)
