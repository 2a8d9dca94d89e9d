"""`LegendOverlay`: label colours over an image, with a legend of class names below it.

Drawn directly into the pixels, for files and video frames: a matplotlib figure would rescale the image.

Shape shorthand: H x W pixels of the image, L rows of pixels of the legend, K classes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from segvit.classes.palette import Color
from segvit.visualization.fonts import readable_names, text_coverage, text_height
from segvit.visualization.overlays import blend_labels

# The text height in pixels is the image's width over TEXTS_PER_WIDTH, clipped to the other two.
TEXTS_PER_WIDTH = 45
SMALLEST_TEXT = 11
LARGEST_TEXT = 40
WHITE = (255, 255, 255)
BLACK = (0, 0, 0)
# A video's legend has a fixed height: it lists all classes if there are at most MAX_LISTED_CLASSES, otherwise the
# largest classes of each frame in FRAME_LEGEND_LINES lines.
MAX_LISTED_CLASSES = 24
FRAME_LEGEND_LINES = 3


class LegendOverlay:
    """Draws labels over images, with a legend below.

    Args:
        names: of the K classes.
        colors: of the K classes, RGB.
        opacity: of the colours; 0 shows the image alone, 1 the colours alone.
    """

    def __init__(self, *, names: Sequence[str], colors: Sequence[Color], opacity: float = 0.6) -> None:
        self._names = readable_names(names)
        self._colors = colors
        self._opacity = opacity

    def draw_image(self, image: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """(H + L, at least W, 3) for an image (H, W, 3) uint8 RGB and its labels (H, W), listing its classes.

        Ids without a class, such as those of pixels without data, are not listed.
        """
        ids = np.unique(labels)
        legend = self._legend(ids[(ids >= 0) & (ids < len(self._names))].tolist(), image.shape[1])
        return self._draw(image, labels, legend)

    def draw_frame(self, frame: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """As `draw_image`, but of the same size for every frame of a video, whatever its classes."""
        num_classes, width = len(self._names), frame.shape[1]
        if num_classes <= MAX_LISTED_CLASSES:
            return self._draw(frame, labels, self._legend(range(num_classes), width))
        areas = np.bincount(labels.ravel(), minlength=num_classes)
        largest_first = [int(index) for index in areas.argsort(kind="stable")[::-1] if areas[index]]
        legend = self._legend(largest_first, width, lines=FRAME_LEGEND_LINES)
        return self._draw(frame, labels, legend[:, :width])

    def _legend(self, ids: Iterable[int], width: int, lines: int | None = None) -> np.ndarray:
        ids = list(ids)
        names = [self._names[index] for index in ids]
        colors = [self._colors[index] for index in ids]
        return draw_legend(names, colors, width=width, lines=lines)

    def _draw(self, image: np.ndarray, labels: np.ndarray, legend: np.ndarray) -> np.ndarray:
        return add_legend(blend_labels(image, labels, self._colors, self._opacity), legend)


def draw_legend(names: Sequence[str], colors: Sequence[Color], *, width: int, lines: int | None = None) -> np.ndarray:
    """A white strip (L, W', 3) uint8 with a coloured square and a name per class, in columns of equal width.

    Args:
        names: of the listed classes, in order; see `readable_names`.
        colors: of the listed classes, RGB.
        width: of the image above the strip; W' is larger if a name does not fit.
        lines: of text; classes that do not fit are left out. By default as many as the classes need.
    """
    text_size = min(max(width // TEXTS_PER_WIDTH, SMALLEST_TEXT), LARGEST_TEXT)
    texts = [text_coverage(name, text_size) for name in names]
    gap = text_size // 2
    column_width = max((text.shape[1] for text in texts), default=0) + text_size + 2 * gap
    columns = max((width - gap) // column_width, 1)
    lines = -(-len(names) // columns) if lines is None else lines
    height = lines * (text_size + gap) + gap if lines else 0
    strip = np.full((height, max(width, column_width + gap), 3), WHITE, dtype=np.uint8)
    for index, (text, color) in enumerate(zip(texts[: lines * columns], colors)):
        row, column = divmod(index, columns)
        left = gap + column * column_width
        top = gap + row * (text_size + gap)
        square = strip[top : top + text_size, left : left + text_size]
        square[:] = BLACK
        square[1:-1, 1:-1] = color
        # The text is centred on the square, and is higher.
        top += (text_size - text_height(text_size)) // 2
        left += text_size + gap
        area = strip[top : top + text.shape[0], left : left + text.shape[1]]
        area -= text[: area.shape[0], :, None]  # black on white
    return strip


def add_legend(image: np.ndarray, legend: np.ndarray) -> np.ndarray:
    """(H + L, max(W, W'), 3): the image above the legend (L, W', 3), the narrower one padded with white."""
    width = max(image.shape[1], legend.shape[1])
    joined = np.full((image.shape[0] + legend.shape[0], width, 3), WHITE, dtype=np.uint8)
    joined[: image.shape[0], : image.shape[1]] = image
    joined[image.shape[0] :, : legend.shape[1]] = legend
    return joined
