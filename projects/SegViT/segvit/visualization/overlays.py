"""Label maps as colours: alone, blended over their image, and in a sheet of image, ground truth and prediction.

Shape shorthand: H x W pixels, K classes.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from segvit.classes.palette import Color
from segvit.visualization.figures import save_figure
from segvit.visualization.fonts import readable_names, shorten, text_coverage

# The most classes in a line of a sheet's legend, its font size, and inches: of a line, and of a colour with its spaces.
MAX_LEGEND_COLUMNS = 8
FONT_SIZE = 9
LINE_HEIGHT = 0.3
MARK_WIDTH = 0.65
POINTS_PER_INCH = 72


@dataclass(frozen=True)
class Prediction:
    """An RGB image (H, W, 3) uint8 with its ground truth and its predicted labels, both (H, W)."""

    image: np.ndarray
    truth: np.ndarray
    labels: np.ndarray


def color_labels(labels: np.ndarray, colors: Sequence[Color]) -> np.ndarray:
    """(H, W) ids -> (H, W, 3) uint8 RGB; ids without one of the K colours become black."""
    table = np.zeros((max(len(colors) + 1, 256), 3), dtype=np.uint8)
    table[: len(colors)] = colors
    if labels.dtype == np.uint8:
        # OpenCV's lookup is ten times as fast as indexing, which would also need eight bytes per pixel.
        return cv2.merge([cv2.LUT(labels, np.ascontiguousarray(channel)) for channel in table[:256].T])
    return table[np.where(_has_color(labels, colors), labels, len(colors))]


def blend_labels(image: np.ndarray, labels: np.ndarray, colors: Sequence[Color], opacity: float = 0.6) -> np.ndarray:
    """Blend the colours of the labels into an RGB image.

    Args:
        image: (H, W, 3) uint8.
        labels: (H, W) ids; pixels whose id has no colour (ignored pixels) show the dimmed image.
        colors: K RGB colours.
        opacity: 0 shows the image alone, 1 the colours alone.

    Returns:
        (H, W, 3) uint8.
    """
    image = np.ascontiguousarray(image)
    blended = cv2.addWeighted(image, 1 - opacity, color_labels(labels, colors), opacity, 0)
    ignored = ~_has_color(labels, colors)
    blended[ignored] = (image[ignored] * 0.4).round()
    return blended


def _has_color(labels: np.ndarray, colors: Sequence[Color]) -> np.ndarray:
    return (labels >= 0) & (labels < len(colors))


def draw_prediction_sheet(
    predictions: Sequence[Prediction],
    classes: Sequence[str],
    colors: Sequence[Color],
    output: str | os.PathLike[str],
) -> None:
    """Write a PNG with a row per image (image, ground truth, prediction) and a legend below."""
    rows, columns = len(predictions), 3
    width = 12
    aspect_ratio = predictions[0].image.shape[0] / predictions[0].image.shape[1]
    names = readable_names(classes)
    height = rows * width / columns * aspect_ratio + legend_height(names, width) + 0.3
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    for row, prediction in zip(axes, predictions, strict=True):
        row[0].imshow(prediction.image)
        row[1].imshow(blend_labels(prediction.image, prediction.truth, colors))
        row[2].imshow(blend_labels(prediction.image, prediction.labels, colors))
    for axis, title in zip(axes[0], ("image", "ground truth", "prediction"), strict=True):
        axis.set_title(title, fontsize=11)
    for axis in axes.flat:
        axis.set_axis_off()
    add_class_legend(figure, names, colors)
    save_figure(figure, output, dpi=80)


def legend_height(classes: Sequence[str], width: float) -> float:
    """Inches that `add_class_legend` needs in a figure of `width` inches."""
    return LINE_HEIGHT * -(-len(classes) // _legend_columns(classes, width)) + 0.2


def _legend_columns(classes: Sequence[str], width: float) -> int:
    longest = max((text_coverage(shorten(name), FONT_SIZE).shape[1] for name in classes), default=0)
    return max(1, min(MAX_LEGEND_COLUMNS, int(width / (MARK_WIDTH + longest / POINTS_PER_INCH))))


def add_class_legend(figure: Figure, classes: Sequence[str], colors: Sequence[Color]) -> None:
    """Add a legend of the classes, named as by `readable_names`, below the axes; long names are shortened."""
    patches = [
        Patch(color=(red / 255, green / 255, blue / 255), label=shorten(name))
        for name, (red, green, blue) in zip(classes, colors, strict=True)
    ]
    columns = _legend_columns(classes, figure.get_figwidth())
    figure.legend(handles=patches, loc="outside lower center", ncols=columns, frameon=False, fontsize=FONT_SIZE)
