"""`ResultFolder`: label maps, colour images and overlays of segmented images and videos.

Shape shorthand: H x W pixels, K classes.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from segvit.classes.palette import Color
from segvit.inference.video import VideoWriter
from segvit.label_png import write_label_png
from segvit.output_files import atomic_write
from segvit.visualization.legend import LegendOverlay
from segvit.visualization.overlays import color_labels

KINDS = ("labels", "colors", "overlays")


class ResultFolder:
    """Writes `labels/NAME.png`, `colors/NAME.png` and `overlays/NAME.png`, or `overlays/NAME.mp4` for a video.

    Writes are atomic and replace existing files.

    Args:
        folder: created if it does not exist.
        names: of the K classes.
        colors: of the K classes, RGB.
        kinds: the kinds of results to write, a subset of `KINDS`.
        opacity: of the colours in overlays; 0 shows the image alone, 1 the colours alone.
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

    def are_complete(self, name: str, *, is_video: bool, with_frames: bool = False) -> bool:
        """Whether all results of a file exist, those of a video's frames, too; files are complete or do not exist."""
        if is_video:
            return self._video_path(name).exists() and (not with_frames or self._frames_are_complete(name))
        return all(self._path(kind, name).exists() for kind in self._kinds)

    def _frames_are_complete(self, name: str) -> bool:
        """Whether the frames of a finished video were written with it: its file is closed after the last of them."""
        closed = self._video_path(name).stat().st_mtime_ns
        for kind in {"labels", "colors"}.intersection(self._kinds):
            frames = list(Path(self._folder, kind, name).glob("*.png"))
            if not frames or max(frame.stat().st_mtime_ns for frame in frames) > closed:
                return False
        return True

    def write(self, name: str, image: np.ndarray, labels: np.ndarray) -> None:
        """Write the results of an image (H, W, 3) uint8 RGB with the class ids `labels` (H, W)."""
        self.write_labels(name, labels)
        self.write_overlay(name, image, labels)

    def write_overlay(self, name: str, image: np.ndarray, labels: np.ndarray) -> None:
        """Write the overlay alone."""
        if "overlays" in self._kinds:
            self._write("overlays", name, self.overlay.draw_image(image, labels))

    def label_raster(self, name: str) -> Path:
        """The GeoTIFF of a georeferenced or large image."""
        return self._folder / "labels" / f"{name}.tif"

    def write_labels(self, name: str, labels: np.ndarray) -> None:
        """Write the label map and its colours; ids take one byte, or two if there are more than 256 classes."""
        if "labels" in self._kinds:
            write_label_png(self._path("labels", name), labels, self._colors)
        if "colors" in self._kinds:
            self._write("colors", name, color_labels(labels, self._colors))

    def video(self, name: str, *, fps: float) -> VideoWriter:
        """A writer for the frames that `overlay.draw_frame` returns."""
        return VideoWriter(self._video_path(name), fps=fps)

    def _write(self, kind: str, name: str, pixels: np.ndarray) -> None:
        with atomic_write(self._path(kind, name)) as path:
            Image.fromarray(pixels).save(path)

    def _path(self, kind: str, name: str) -> Path:
        return self._folder / kind / f"{name}.png"

    def _video_path(self, name: str) -> Path:
        return self._folder / "overlays" / f"{name}.mp4"
