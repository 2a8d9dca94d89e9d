"""A legend below a picture, in its pixels: for files and video frames, where a figure's axes would rescale the picture.

Shape shorthand: H x W pixels of the picture, L rows of pixels of the legend.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from segvit.visualization.overlays import Color, blend_labels

# The height of text in pixels: a share of the picture's width, within limits.
SMALLEST_TEXT, LARGEST_TEXT, TEXTS_PER_WIDTH = 11, 40, 45
WHITE, BLACK = 255, 0
# The legend of a video lists all classes where there are no more than these, else the largest of each frame.
CLASSES_OF_A_FIXED_LEGEND = 24
LINES_OF_A_CHANGING_LEGEND = 3


class LegendOverlay:
    """Lays labels over pictures, with a legend below.

    Args:
        names, colors: of the K classes.
        opacity: of the colours; 0 shows the picture, 1 the colours alone.
    """

    def __init__(self, *, names: Sequence[str], colors: Sequence[Color], opacity: float = 0.6) -> None:
        self._names = names
        self._colors = colors
        self._opacity = opacity

    def of_picture(self, picture: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """(H + L, at least W, 3) for a picture (H, W, 3) uint8 RGB and its ids (H, W); lists the classes in it."""
        return self._joined(picture, labels, self._legend(np.unique(labels), picture.shape[1]))

    def of_frame(self, frame: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """The same for a frame of a video: of one size for all frames of a size, whatever is in them."""
        count, width = len(self._names), frame.shape[1]
        if count <= CLASSES_OF_A_FIXED_LEGEND:
            return self._joined(frame, labels, self._legend(range(count), width))
        areas = np.bincount(labels.ravel(), minlength=count)
        largest = [index for index in areas.argsort(kind="stable")[::-1] if areas[index]]
        return self._joined(frame, labels, self._legend(largest, width, lines=LINES_OF_A_CHANGING_LEGEND)[:, :width])

    def _legend(self, ids: Iterable[int], width: int, lines: int | None = None) -> np.ndarray:
        chosen = [(self._names[index], self._colors[index]) for index in ids]
        return draw_legend([name for name, _ in chosen], [color for _, color in chosen], width=width, lines=lines)

    def _joined(self, picture: np.ndarray, labels: np.ndarray, legend: np.ndarray) -> np.ndarray:
        return add_legend(blend_labels(picture, labels, self._colors, self._opacity), legend)


def draw_legend(names: Sequence[str], colors: Sequence[Color], *, width: int, lines: int | None = None) -> np.ndarray:
    """A white strip (L, W', 3) uint8 that says which colour is which class.

    Args:
        names, colors: of the classes to be listed, in their order.
        width: of the picture that the strip belongs to; W' is larger where a name does not fit.
        lines: of text; those classes that do not fit are left out. By default as many as the classes need.
    """
    size = min(max(width // TEXTS_PER_WIDTH, SMALLEST_TEXT), LARGEST_TEXT)
    font, gap = _font(size), size // 2
    widths = [int(font.getlength(name)) for name in names]
    cell = max(widths, default=0) + size + 2 * gap
    columns = max((width - gap) // cell, 1)
    lines = -(-len(names) // columns) if lines is None else lines
    height = lines * (size + gap) + gap if lines else 0
    strip = Image.new("RGB", (max(width, cell + gap), height), (WHITE,) * 3)
    draw = ImageDraw.Draw(strip)
    for index, (name, color) in enumerate(zip(names[: lines * columns], colors)):
        row, column = divmod(index, columns)
        left, top = gap + column * cell, gap + row * (size + gap)
        draw.rectangle((left, top, left + size - 1, top + size - 1), fill=tuple(color), outline=(BLACK,) * 3)
        draw.text((left + size + gap, top + size // 2), name, fill=(BLACK,) * 3, font=font, anchor="lm")
    return np.asarray(strip)


def add_legend(picture: np.ndarray, legend: np.ndarray) -> np.ndarray:
    """(H + L, max(W, W'), 3): the picture above the legend; where one is narrower, it is filled up with white."""
    width = max(picture.shape[1], legend.shape[1])
    joined = np.full((picture.shape[0] + legend.shape[0], width, 3), WHITE, dtype=np.uint8)
    joined[: picture.shape[0], : picture.shape[1]] = picture
    joined[picture.shape[0] :, : legend.shape[1]] = legend
    return joined


@lru_cache(maxsize=8)
def _font(size: int) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which comes with matplotlib: names of classes need not be ASCII."""
    return ImageFont.truetype(str(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")), size)
