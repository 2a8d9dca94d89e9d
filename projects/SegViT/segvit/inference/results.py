"""A folder of what a model found in pictures and videos: class ids, colours, and overlays with a legend.

Shape shorthand: H x W pixels, K classes.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from segvit.inference.video import VideoWriter
from segvit.output_files import atomic_write
from segvit.visualization.legend import LegendOverlay
from segvit.visualization.overlays import Color, color_labels

KINDS = ("labels", "colors", "overlays")


class ResultFolder:
    """Writes `labels/NAME.png`, `colors/NAME.png` and `overlays/NAME.png`, or `overlays/NAME.mp4` for a video.

    A file is written under another name first; an existing one is replaced.

    Args:
        folder: made where it does not exist.
        names, colors: of the K classes.
        kinds: those of `KINDS` that are wanted.
        opacity: of the colours in overlays; 0 shows the picture, 1 the colours alone.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        names: Sequence[str],
        colors: Sequence[Color],
        kinds: Collection[str] = KINDS,
        opacity: float = 0.6,
    ) -> None:
        self._folder = Path(folder)
        self._colors = colors
        self._kinds = kinds
        self.overlay = LegendOverlay(names=names, colors=colors, opacity=opacity)

    def write(self, name: str, picture: np.ndarray, labels: np.ndarray) -> None:
        """Write what is wanted for a picture (H, W, 3) uint8 RGB with the class ids `labels` (H, W)."""
        self.write_labels(name, labels)
        if "overlays" in self._kinds:
            self._write("overlays", name, self.overlay.of_picture(picture, labels))

    def write_labels(self, name: str, labels: np.ndarray) -> None:
        """Write what is wanted of ids and colours: ids of one byte, or of two where there are more than 256 classes."""
        if "labels" in self._kinds:
            self._write("labels", name, labels.astype(np.uint8 if len(self._colors) <= 256 else np.uint16, copy=False))
        if "colors" in self._kinds:
            self._write("colors", name, color_labels(labels, self._colors))

    def video(self, name: str, *, fps: float) -> VideoWriter:
        """A video for the frames that `overlay.of_frame` makes."""
        return VideoWriter(self._folder / "overlays" / f"{name}.mp4", fps=fps)

    def _write(self, kind: str, name: str, pixels: np.ndarray) -> None:
        with atomic_write(self._folder / kind / f"{name}.png") as path:
            Image.fromarray(pixels).save(path)
