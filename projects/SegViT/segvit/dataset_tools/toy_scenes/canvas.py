"""`Canvas`: an image and its label map to paint on, with masks and textures as NumPy arrays.

Shape shorthand: H x W pixels of the canvas, SUPERSAMPLING times the output image.
Lengths and positions are in pixels of the output image; colours are RGB, 0 to 255.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

IMAGE_HEIGHT, IMAGE_WIDTH = 128, 160
SUPERSAMPLING = 2
IGNORED = 255

RGB = Sequence[float] | np.ndarray


class Canvas:
    """A float32 image (H, W, 3) and a uint8 label map (H, W); objects are painted from back to front."""

    def __init__(self, image: np.ndarray, labels: np.ndarray, x: np.ndarray, y: np.ndarray) -> None:
        """`x` and `y` (H, W) float32 hold the position of each pixel."""
        self.image = image
        self.labels = labels
        self.x = x
        self.y = y
        self.height, self.width = labels.shape

    @classmethod
    def blank(cls) -> Canvas:
        """A black canvas with all pixels ignored."""
        height, width = IMAGE_HEIGHT * SUPERSAMPLING, IMAGE_WIDTH * SUPERSAMPLING
        y, x = np.mgrid[0:height, 0:width].astype(np.float32) / SUPERSAMPLING
        return cls(np.zeros((height, width, 3), np.float32), np.full((height, width), IGNORED, np.uint8), x, y)

    def window(self, left: float, top: float, right: float, bottom: float) -> Canvas:
        """A view of this canvas inside a rectangle, sharing its memory; painting a small window is fast."""
        rows = slice(max(int(top * SUPERSAMPLING), 0), max(int(np.ceil(bottom * SUPERSAMPLING)), 1))
        columns = slice(max(int(left * SUPERSAMPLING), 0), max(int(np.ceil(right * SUPERSAMPLING)), 1))
        area = (rows, columns)
        return Canvas(self.image[area], self.labels[area], self.x[area], self.y[area])

    def paint(self, mask: np.ndarray, color: RGB, class_id: int | None = None) -> None:
        """Set pixels in `mask` (H, W) bool to `color`, one RGB or (H, W, 3), and, if given, to `class_id`."""
        np.copyto(self.image, np.asarray(color, np.float32), where=mask[..., None])
        if class_id is not None:
            self.labels[mask] = class_id

    def shade(self, weight: np.ndarray, color: RGB) -> None:
        """Blend `color` into the image by `weight` (H, W) in 0..1; the labels do not change."""
        self.image += weight[..., None] * (np.asarray(color, np.float32) - self.image)

    def polygon(self, points: Sequence[Sequence[float]] | np.ndarray) -> np.ndarray:
        """(H, W) bool: inside the closed polygon of (x, y) points."""
        mask = np.zeros((self.height, self.width), np.uint8)
        corners = np.asarray(points, np.float64) - (self.x[0, 0], self.y[0, 0])
        corners = np.round(corners * SUPERSAMPLING).astype(np.int32)
        cv2.fillPoly(mask, [corners], 1)
        return mask.astype(bool)

    def disc(self, x: float, y: float, radius_x: float, radius_y: float | None = None) -> np.ndarray:
        """(H, W) bool: inside an axis-aligned ellipse; `radius_y` defaults to `radius_x`."""
        radius_y = radius_x if radius_y is None else radius_y
        return ((self.x - x) / radius_x) ** 2 + ((self.y - y) / radius_y) ** 2 <= 1.0

    def box(self, left: float, top: float, right: float, bottom: float) -> np.ndarray:
        """(H, W) bool: inside the rectangle."""
        return (self.x >= left) & (self.x < right) & (self.y >= top) & (self.y < bottom)

    def noise(self, rng: np.random.Generator, size_x: float, size_y: float, octaves: int = 3) -> np.ndarray:
        """(H, W) float32 around 0, mostly within -1..1: smooth noise whose largest grains are `size_x` x `size_y`."""
        total = np.zeros((self.height, self.width), np.float32)
        for octave in range(octaves):
            rows = int(self.height / SUPERSAMPLING / size_y * 2**octave) + 2
            columns = int(self.width / SUPERSAMPLING / size_x * 2**octave) + 2
            grid = rng.standard_normal((rows, columns), dtype=np.float32)
            total += cv2.resize(grid, (self.width, self.height), interpolation=cv2.INTER_CUBIC) * 0.5**octave
        return total * 0.6

    def textured(self, color: RGB, texture: np.ndarray, strength: float) -> np.ndarray:
        """(H, W, 3): `color` with its brightness varied by `strength * texture`, texture (H, W)."""
        return np.asarray(color, np.float32) * (1.0 + strength * texture)[..., None]

    def finish(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Image (h, w, 3) and labels (h, w), both uint8; adds exposure, vignette and grain to the image."""
        exposure = rng.uniform(0.85, 1.12) * (1.0 + rng.uniform(-0.06, 0.06, 3)).astype(np.float32)
        center_x, center_y = IMAGE_WIDTH / 2, IMAGE_HEIGHT / 2
        distance = ((self.x - center_x) / center_x) ** 2 + ((self.y - center_y) / center_y) ** 2
        image = self.image * exposure * (1.0 - rng.uniform(0.0, 0.1) * distance)[..., None]
        image = cv2.resize(image, (IMAGE_WIDTH, IMAGE_HEIGHT), interpolation=cv2.INTER_AREA)
        image += rng.uniform(1.0, 5.0) * rng.standard_normal(image.shape, dtype=np.float32)
        labels = self.labels[::SUPERSAMPLING, ::SUPERSAMPLING]
        return np.clip(np.round(image), 0, 255).astype(np.uint8), np.ascontiguousarray(labels)


def pick_color(rng: np.random.Generator, palette: Sequence[Sequence[float]], jitter: float = 14.0) -> np.ndarray:
    """One colour of the palette (3,), shifted at random in each channel and in brightness."""
    color = np.asarray(palette[int(rng.integers(len(palette)))], np.float32)
    return np.clip(color * rng.uniform(0.85, 1.15) + rng.normal(0.0, jitter, 3), 8, 250).astype(np.float32)
